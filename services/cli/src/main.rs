//! The operator's command.

fn main() -> std::process::ExitCode {
    rstuf_cli::main()
}
