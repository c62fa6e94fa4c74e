//! The clock of the runtime.

use crate::edges::Clock;
use squall_machine::{Time, Wall};
use std::future::Future;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// Tokio's clock: that of the host, or the simulated one. A process's time begins when this is made.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Instant,
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TokioClock {
    /// A clock that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_types, reason = "the edge at which the calendar comes in")]
    fn wall(&self) -> Wall {
        // Before 1970 or after 2262 nothing is shown.
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall(i64::try_from(since.as_nanos()).unwrap_or_default())
    }

    fn sleep_until(&self, deadline: Time) -> impl Future<Output = ()> + Send {
        let deadline = self.origin.checked_add(Duration::from_nanos(deadline.as_nanos()));
        async move {
            match deadline {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        }
    }
}
