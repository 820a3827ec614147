//! Reads the command line and dispatches.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore::commands::main()
}
