//! The page about states, reasons, wait codes, troubles and problems, made of the tables in the code and the migrations.

use longshore::{
    api::Kind,
    lifecycle::{EDGES, Reason, StateName, WaitCode},
    retry::{MAY_BE_RETRIED, RETRIED},
    trouble::{Grace, Table},
};

use super::{Page, code, read, root, section};

pub fn endings() -> Vec<String> {
    Reason::ALL.iter().map(|it| it.name().to_owned()).collect()
}

pub fn troubles() -> Vec<String> {
    Table::default().lines().iter().map(|it| it.said.to_owned()).collect()
}

pub fn problems() -> Vec<String> {
    Kind::ALL.iter().map(|it| it.about().code.to_owned()).collect()
}

/// The codes that `longshore.why` gives besides those that are stored, by its newest definition.
fn said_by_the_database() -> Vec<String> {
    let mut files: Vec<_> =
        std::fs::read_dir(root().join("migrations")).unwrap().flatten().map(|it| it.path()).collect();
    files.sort();
    let defines = |it: &String| it.contains("function longshore.why(job uuid)");
    let mut texts = files.iter().map(|it| std::fs::read_to_string(it).unwrap());
    let newest =
        texts.rfind(|it| defines(it) && it.contains("code := ")).expect("a migration that defines longshore.why");
    let start = newest.find("function longshore.why(job uuid)\nreturns").expect("its definition");
    let body = newest[start..].split("\n$$;").next().unwrap();
    let mut found: Vec<String> = Vec::new();
    for said in body.split("code := ").skip(1) {
        let statement = said.split(';').next().unwrap();
        // Of `case when … then 'a' else 'b' end` and of `coalesce(…, 'a')`, each word.
        found.extend(statement.split('\'').skip(1).step_by(2).map(str::to_owned));
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 5, "{found:?}");
    found
}

/// All that `why` may answer of a job that is not over.
pub fn waits() -> Vec<String> {
    let mut all = said_by_the_database();
    all.extend(WaitCode::ALL.iter().map(|it| it.name().to_owned()));
    all.sort();
    all.dedup();
    all
}

fn retried(reason: Reason) -> &'static str {
    match reason {
        Reason::Completed => "",
        Reason::Quota => "always",
        _ if reason.is_interruption() => "as an interruption",
        _ if RETRIED.contains(&reason) => "by default",
        _ if MAY_BE_RETRIED.contains(&reason) => "if named",
        _ => "never",
    }
}

fn grace(grace: Grace) -> String {
    match grace {
        Grace::None => "none".to_owned(),
        Grace::For(time) => format!("{} s", time.as_secs()),
        Grace::UntilStartTimeout => "until the start timeout".to_owned(),
    }
}

/// What the lifecycle's page says about a word in the last cell of its row.
fn told(heading: &str, word: &str) -> String {
    let lifecycle = read("docs/lifecycle.md");
    let part = section(&lifecycle, heading);
    let is_its = |it: &&str| it.starts_with("| ") && it.split(" | ").next().is_some_and(|it| it.contains(&code(word)));
    let row = part.lines().find(is_its).unwrap_or_else(|| panic!("docs/lifecycle.md says nothing of {word}"));
    row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default().to_owned()
}

pub fn page() -> Page {
    let about = "Words that programs may match on. They are for ever: new ones may come, none changes its meaning. \
                 [lifecycle.md](../lifecycle.md) tells how they hang together.";
    let mut page = Page::new("States, reasons and codes", about);
    page.heading(2, "States");
    let state = |it: &StateName| {
        let leads_to = |to: &&StateName| EDGES.contains(&(*it, **to));
        let to: Vec<_> = StateName::ALL.iter().filter(leads_to).map(|to| code(to.name())).collect();
        let yes = |is: bool| if is { "yes" } else { "" }.to_owned();
        vec![code(it.name()), yes(it.holds_slot()), yes(it.is_finished()), to.join(", ")]
    };
    page.table(&["state", "holds a slot", "over", "leads to"], &StateName::ALL.iter().map(state).collect::<Vec<_>>());
    page.heading(2, "Reasons of an ending");
    let reason = |it: &Reason| vec![code(it.name()), retried(*it).to_owned(), it.about().to_owned()];
    page.table(&["reason", "tried again", "what"], &Reason::ALL.iter().map(reason).collect::<Vec<_>>());
    page.heading(2, "What a job waits for");
    let stored = |word: &str| WaitCode::from_name(word);
    let wait = |it: String| {
        let about = stored(&it).map_or_else(|| told("## Waiting", &it), |code| code.about().to_owned());
        vec![code(&it), if stored(&it).is_some() { "yes" } else { "" }.to_owned(), about]
    };
    page.table(&["code", "in `wait_code`", "what"], &waits().into_iter().map(wait).collect::<Vec<_>>());
    page.heading(2, "Troubles at the start");
    page.line("`--start-grace NAME=TIME` gives one another grace.\n");
    let table = Table::default();
    let trouble = |it: &longshore::trouble::Line| {
        vec![code(it.said), code(it.code.name()), code(it.reason.name()), grace(it.grace)]
    };
    page.table(
        &["said by Kubernetes", "wait code", "ends as", "grace"],
        &table.lines().iter().map(trouble).collect::<Vec<_>>(),
    );
    page.heading(2, "Problems");
    page.line("What `code` of a problem document may be. Each replica explains them at `/docs/problems/{code}`.\n");
    let problem = |it: &Kind| {
        let about = it.about();
        vec![about.status.as_u16().to_string(), code(about.code), about.meaning.to_owned(), about.remedy.to_owned()]
    };
    page.table(&["status", "code", "when", "what helps"], &Kind::ALL.iter().map(problem).collect::<Vec<_>>());
    page
}
