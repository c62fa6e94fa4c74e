//! Where commands write. A reader that went away is no error: nothing more is written then.

use crate::Diagnosis;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// The two streams of a command, and what the program is called.
pub(crate) struct Ui {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    closed: bool,
    pub(crate) program: String,
    pub(crate) colours: bool,
}

impl Ui {
    /// The streams of this process; colours only on a terminal, and not if the user doesn't want them.
    pub(crate) fn of_process() -> Self {
        let program = std::env::args().next().unwrap_or_default();
        let program = Path::new(&program).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self {
            colours: io::stderr().is_terminal(),
            out: Box::new(anstream::AutoStream::auto(io::stdout())),
            err: Box::new(anstream::AutoStream::auto(io::stderr())),
            closed: false,
            program: program.filter(|name| !name.is_empty()).unwrap_or_else(|| "squall".to_owned()),
        }
    }

    /// Writes one line of the result.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) {
        if !self.closed {
            self.closed = writeln!(self.out, "{text}").and_then(|()| self.out.flush()).is_err();
        }
    }

    /// The stream of the result, for whoever writes a lot.
    pub(crate) fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Tells people something beside the result.
    pub(crate) fn note(&mut self, text: fmt::Arguments<'_>) {
        // There is nobody left to tell that nobody can be told.
        drop(writeln!(self.err, "{text}"));
    }

    /// Tells what is wrong with the command line or its surroundings.
    pub(crate) fn error(&mut self, text: fmt::Arguments<'_>) {
        let style = anstyle::AnsiColor::Red.on_default().bold();
        self.note(format_args!("{style}error{style:#}: {text}"));
    }

    /// Tells what is wrong with files.
    pub(crate) fn diagnoses(&mut self, diagnoses: &[Diagnosis]) {
        for diagnosis in diagnoses {
            let text = diagnosis.render(self.colours);
            self.note(format_args!("{text}\n"));
        }
        let (files, errors) = (diagnoses.len(), diagnoses.iter().map(Diagnosis::count).sum::<usize>());
        if errors > 1 {
            self.error(format_args!("{errors} errors in {files} {}", if files == 1 { "file" } else { "files" }));
        }
    }
}
