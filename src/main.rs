//! The `t2r` binary: installs the counting allocator and turns what came of the command into an exit code.

use std::process::ExitCode;

use t2r::{
    cli::{self, Ending, Failure},
    measure::{CountingAllocator, keep_freed_memory},
    store::is_closed_pipe,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn main() -> ExitCode {
    keep_freed_memory();
    cli::quiet_panics();
    match cli::command(std::env::args_os()) {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::GateFailed) => ExitCode::from(3),
        Ok(Ending::SomeNotOk) => ExitCode::from(4),
        Ok(Ending::Interrupted) => ExitCode::from(130),
        Err(Failure::Refused(error)) => {
            // Help and version come this way too. Where neither can be printed there is nobody to tell.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Err(Failure::Told(code)) => ExitCode::from(code),
        Err(Failure::Usage(message)) => {
            cli::complain(&anyhow::Error::msg(message));
            ExitCode::from(2)
        }
        Err(Failure::CouldNotRun(error)) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::CouldNotRun(error)) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
