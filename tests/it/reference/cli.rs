//! The pages about commands and settings, made of clap's own description of the command line.

use clap::{Arg, Command};
use longshore::{client::Exit, commands};

use super::{Page, code};

/// Variables of the environment that are no flag's.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("DATABASE_URL", "as `--database-url`, where neither that nor `LONGSHORE_DATABASE_URL` is given"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "as `--otlp-endpoint`, where neither that nor `LONGSHORE_OTLP_ENDPOINT` is given"),
    ("KUBECONFIG", "the kubeconfig, where `--kubeconfig` is not given and there is no service account"),
    (
        "KUBERNETES_SERVICE_HOST",
        "set by Kubernetes: then a database must be given, and there is none of Longshore's own",
    ),
    ("HOME", "below it are `.local/share/longshore` and `.kube/config`"),
    ("XDG_DATA_HOME", "in place of `~/.local/share`"),
    ("PATH", "where `postgres` and `initdb` are looked for first"),
    ("NO_COLOR", "no colours in the log on a terminal"),
    ("LONGSHORE_FAILPOINT", "only in builds with the feature `failpoints`, for tests"),
];

fn all() -> Command {
    let mut all = commands::command();
    all.build();
    all
}

/// Flags and arguments that people may give.
fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = |it: &&Arg| !it.is_hide_set() && !["help", "version"].contains(&it.get_id().as_str());
    command.get_arguments().filter(own)
}

/// Whether a command has settings of its own, which the environment may give; all others are clients.
fn has_settings(command: &Command) -> bool {
    shown(command).any(|it| it.get_env().is_some() && it.get_id() != "url")
}

/// All of them, of every command.
pub fn variables() -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![all()];
    while let Some(command) = left.pop() {
        found.extend(command.get_arguments().filter_map(|it| Some(it.get_env()?.to_string_lossy().into_owned())));
        left.extend(command.get_subcommands().cloned());
    }
    found
}

fn spelled(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" ");
    if arg.is_positional() {
        let more = if arg.get_num_args().is_some_and(|it| it.max_values() > 1) { "…" } else { "" };
        return format!("`{values}{more}`");
    }
    let takes = arg.get_action().takes_values();
    let long = arg.get_long().map(|it| format!("--{it}")).unwrap_or_default();
    let others = arg.get_all_aliases().unwrap_or_default();
    let others: String = others.iter().map(|it| format!(", `--{it}`")).collect();
    let value = if takes { format!(" {values}") } else { String::new() };
    let short = arg.get_short().map(|it| format!("`-{it}`, ")).unwrap_or_default();
    format!("{short}`{long}{value}`{others}")
}

fn about(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> = match arg.get_action().takes_values() {
        true => arg.get_possible_values().iter().filter(|it| !it.is_hide_set()).map(|it| code(it.get_name())).collect(),
        false => vec![],
    };
    match possible.is_empty() {
        true => help,
        false if help.is_empty() => format!("One of {}", possible.join(", ")),
        false => format!("{help}. One of {}", possible.join(", ")),
    }
}

fn default(arg: &Arg) -> String {
    let shown = arg.get_action().takes_values();
    let values: Vec<_> = arg.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
    if shown { code(&values.join(",")) } else { String::new() }
}

fn env(arg: &Arg) -> String {
    code(&arg.get_env().map(|it| it.to_string_lossy()).unwrap_or_default())
}

fn rows(command: &Command, with_env: bool) -> Vec<Vec<String>> {
    let row = |it: &Arg| match with_env {
        true => vec![spelled(it), env(it), default(it), about(it)],
        false => vec![spelled(it), default(it), about(it)],
    };
    shown(command).map(row).collect()
}

fn is_of_all(arg: &Arg) -> bool {
    arg.is_global_set()
}

/// Every command of the client, with its flags.
pub fn commands() -> Page {
    let all = all();
    let about = "Every command and flag of the client, and its exit codes. [cli.md](../cli.md) tells how to use them; what runs a \
                 server is in [settings.md](settings.md). `longshore help COMMAND` prints the same.";
    let mut page = Page::new("Commands", about);
    page.heading(2, "For all commands");
    let connection: Vec<_> =
        shown(&all).map(|it| vec![spelled(it), env(it), default(it), super::cli::about(it)]).collect();
    page.table(&["flag", "environment", "default", "what"], &connection);
    for command in all.get_subcommands().filter(|it| !has_settings(it) && it.get_name() != "help") {
        write(&mut page, "", command);
    }
    page.heading(2, "Exit codes");
    let mut codes: Vec<_> = Exit::ALL.iter().map(|it| vec![it.code().to_string(), it.about().to_owned()]).collect();
    codes.push(vec!["any".to_owned(), Exit::OfContainer(0).about().to_owned()]);
    page.table(&["code", "means"], &codes);
    page.line("\nOf several things it is the code of the first that went wrong. `serve`, `dev`, `migrate` and `sim` end with 0, or with 1 where they could not do it; with 2 where the command line is wrong; with 130 at a second signal.");
    page
}

fn write(page: &mut Page, before: &str, command: &Command) {
    let name = format!("{before}{}", command.get_name());
    page.heading(2, &format!("longshore {name}"));
    page.line(format!("{}.", command.get_about().map(ToString::to_string).unwrap_or_default().trim_end_matches('.')));
    let below: Vec<_> = command.get_subcommands().filter(|it| it.get_name() != "help").collect();
    let own: Vec<Vec<String>> =
        shown(command).filter(|it| !is_of_all(it)).map(|it| vec![spelled(it), default(it), about(it)]).collect();
    if !own.is_empty() {
        page.line("");
        page.table(&["flag", "default", "what"], &own);
    }
    for sub in below {
        write(page, &format!("{name} "), sub);
    }
}

/// Every flag of the commands that run something, with its variable and its default.
pub fn settings() -> Page {
    let about = "Every setting of the commands that run something. A flag wins over its variable. Times are such as `100ms`, \
                 `90s`, `15m`, `1h30m` or `30d`. [operating.md](../operating.md#settings-that-matter-together) tells which of \
                 them depend on each other, and [values.yaml](../../charts/longshore/values.yaml) how the chart sets them.";
    let mut page = Page::new("Settings", about);
    let all = all();
    let of_serve = rows(all.find_subcommand("serve").expect("serve"), true);
    for command in all.get_subcommands().filter(|it| has_settings(it)) {
        let name = command.get_name();
        page.heading(2, &format!("longshore {name}"));
        page.line(format!("{}.\n", command.get_about().map(ToString::to_string).unwrap_or_default()));
        let (same, own): (Vec<_>, Vec<_>) = rows(command, true)
            .into_iter()
            .filter(|it| !it[0].contains("--url"))
            .partition(|it| name != "serve" && of_serve.contains(it));
        page.table(&["flag", "environment", "default", "what"], &own);
        if !same.is_empty() {
            let same: Vec<_> = same.into_iter().map(|it| it[0].clone()).collect();
            page.line(format!("\nAnd as for `serve`: {}.", same.join(", ")));
        }
    }
    page.heading(2, "Variables that are no flag's");
    let others: Vec<_> = OTHER_VARIABLES.iter().map(|(name, about)| vec![code(name), (*about).to_owned()]).collect();
    page.table(&["variable", "what"], &others);
    page.line("\nThose of Amazon's SDK hold for sources of type `sqs`, and those that a file of sources names: see [sources.md](../sources.md). A jq filter sees `JOB_*` and what `--filter-env` names.");
    page
}
