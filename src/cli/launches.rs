//! `run --launches N`: the whole program N times, one process after the other, into the same files. What a process is
//! dealt (places in memory, the machine's mood) stays with it, and only other processes show how much that is.

use std::{
    env,
    process::{Child, Command},
    time::Duration,
};

use super::{
    Answer, Ending, Failure,
    args::{RunArgs, Talk},
    gate, say, stop,
};

/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(50);

/// Runs every launch and then the gate.
pub(super) fn run(args: &RunArgs, launches: u32, talk: Talk) -> Answer<Ending> {
    let file = args.resume.as_deref().or(args.csv.as_deref()).filter(|f| *f != "-");
    if args.baseline.is_some() && file.is_none() {
        return Err(Failure::Usage("--baseline with --launches needs a file for the rows: --csv FILE".into()));
    }
    let baseline = super::run::Baseline::load(args)?;
    stop::listen()?;
    let mut not_ok = false;
    for launch in 1..=launches {
        if stop::asked() {
            return Ok(Ending::Interrupted);
        }
        if !talk.quiet {
            say(&format!("launch {launch} of {launches}"));
        }
        match one(launch, launches)? {
            0 => {}
            4 => not_ok = true,
            130 => return Ok(Ending::Interrupted),
            code => return Err(Failure::Told(code)),
        }
    }
    let ended = if not_ok { Ending::SomeNotOk } else { Ending::Done };
    match (baseline, file) {
        (Some(baseline), Some(file)) => {
            let sides = gate::load(file, &gate::metrics(&args.gate.fail_on), &[])?;
            baseline.hold_against(&sides, args, ended)
        }
        _ => Ok(ended),
    }
}

/// The exit code of one launch. It is told to stop when this process is.
fn one(launch: u32, launches: u32) -> Answer<u8> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).arg(format!("--launch={launch}/{launches}"));
    // Ctrl-C in a terminal reaches a whole group of processes; a second one means "at once". This one passes on what it
    // gets, each once.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    stop::pass_on_to(Some(child.id()));
    let code = wait(&mut child);
    stop::pass_on_to(None);
    Ok(code?)
}

fn wait(child: &mut Child) -> std::io::Result<u8> {
    loop {
        if let Some(status) = child.try_wait()? {
            // Ended by a signal it has no code; it could not run to its end.
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        std::thread::sleep(LOOK);
    }
}
