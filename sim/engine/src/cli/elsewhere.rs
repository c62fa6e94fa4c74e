//! Hands a command over to the program that has the engine asked for.

use crate::cli::BAD_INPUT;
use crate::cli::ui::Ui;
use crate::engine::Elsewhere;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the same command with another program, and returns its exit code.
pub(crate) fn hand_over(to: &Elsewhere, ui: &mut Ui) -> u8 {
    let root = workspace(to);
    if let Some(root) = &root
        && let Err(why) = build(to, root)
    {
        return fail(to, &why, ui);
    }
    let Some(program) = find(to, root.as_deref()) else {
        return fail(to, "it is neither beside this program nor in a folder that cargo could build it in", ui);
    };
    let mut command = Command::new(&program);
    // What it prints for pasting names the program that the user called.
    #[cfg(unix)]
    command.arg0(std::env::args_os().next().unwrap_or_default());
    match command.args(std::env::args_os().skip(1)).status() {
        // A signal that ended it has reached this program as well.
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(130),
        Err(error) => fail(to, &format!("{}: {error}", program.display()), ui),
    }
}

fn fail(to: &Elsewhere, why: &str, ui: &mut Ui) -> u8 {
    let (engine, program) = (to.engine, to.program);
    ui.error(format_args!("the engine `{engine}` needs the program `{program}`: {why}"));
    ui.note(format_args!("help: in the workspace, this builds it: cargo {}", shown(to.build)));
    BAD_INPUT
}

/// The arguments as a shell wants them.
fn shown(arguments: &[&str]) -> String {
    let quote = |argument: &&str| {
        let plain = argument.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_=/.".contains(letter));
        if plain { (*argument).to_owned() } else { format!("\"{argument}\"") }
    };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// The workspace with the package of that program, in which this program lies or is called.
fn workspace(of: &Elsewhere) -> Option<PathBuf> {
    let own = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    own.iter()
        .chain(&here)
        .flat_map(|path| path.ancestors())
        .find(|folder| folder.join(of.manifest).is_file())
        .map(Path::to_owned)
}

fn build(to: &Elsewhere, root: &Path) -> Result<(), String> {
    let status = Command::new("cargo")
        .args(to.build)
        .current_dir(root)
        // They would take the place of the flags that the build needs.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(|error| format!("cargo can't be called: {error}"))?;
    if status.success() { Ok(()) } else { Err("its build failed".to_owned()) }
}

fn find(to: &Elsewhere, root: Option<&Path>) -> Option<PathBuf> {
    let built = root.map(|root| root.join(to.folder).join(to.program));
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join(to.program)));
    built.into_iter().chain(beside).find(|path| path.is_file())
}
