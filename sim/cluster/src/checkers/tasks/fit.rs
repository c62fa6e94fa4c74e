//! Which worker could take which task, by the history.

use super::books::{Books, Host, Place, Row, amounts};
use crate::Cluster;
use crate::checkers::ages::Ages;
use squall::Scene;
use squall_machine::{Span, Time};
use squall_scheduler::{BreakerKey, Incarnation};

/// Whether the worker has what the task needs when it is idle.
pub(super) fn could(host: &Host, row: &Row) -> bool {
    let enough =
        amounts(&row.spec.resources).iter().zip(amounts(&host.offer.resources)).all(|(need, has)| *need <= has);
    enough && host.offer.class == row.shape.class && row.spec.capabilities.is_subset(&host.offer.capabilities)
}

/// Whether the worker may be given the task, and has been alive for so long.
pub(super) fn may(
    (books, ages): (&Books, &Ages),
    (who, host): (Incarnation, &Host),
    row: &Row,
    (decided, lately): (Time, Span),
    scene: &Scene<'_, Cluster>,
) -> bool {
    let incarnation = squall_coordinator::Incarnation(who.0);
    let key = BreakerKey::Worker(host.id.clone());
    let knobs = scene.system.scheduler_knobs();
    could(host, row)
        && host.reached
        && !host.draining
        && !host.unhealthy
        && host.leases.len() < knobs.leases_max as usize
        && amounts(&row.spec.resources).iter().zip(books.available(host)).all(|(need, left)| *need <= left)
        && ages.alive(scene.system.knobs(), incarnation, decided) == Some(true)
        && ages.rows.row(incarnation).is_some_and(|row| row.sure && row.last.is_some_and(|at| at + lately <= decided))
        && books.breakers.model(&key).permits(&key, knobs)
}

/// A worker that could have had a task that waits, for so long that it should have: `bound` before `now`, which is `decided` on
/// the coordinator's clock.
pub(super) fn spare<'a>(
    (books, ages): (&'a Books, &Ages),
    row: &Row,
    (now, decided, bound): (Time, Time, Span),
    scene: &Scene<'_, Cluster>,
) -> Option<&'a Host> {
    let knobs = scene.system.scheduler_knobs();
    let long = |since: Time| since + bound < now;
    if row.moves || !matches!(row.place, Place::Waiting { since, .. } if long(since)) {
        return None;
    }
    let shared = [BreakerKey::Class(row.shape.class), BreakerKey::Type(row.spec.kind)];
    let free = shared.iter().all(|key| {
        let model = books.breakers.model(key);
        model.permits(key, knobs) && long(model.changed)
    });
    if !free {
        return None;
    }
    let spare = books.hosts.iter().find(|(who, host)| {
        let key = BreakerKey::Worker(host.id.clone());
        long(host.changed)
            && long(books.breakers.model(&key).changed)
            && may((books, ages), (**who, host), row, (decided, bound), scene)
    });
    spare.map(|(_, host)| host)
}
