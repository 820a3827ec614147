//! stub
#[derive(clap::Subcommand)]
pub enum Command {
    Get,
}
pub async fn run(_command: Command) -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
