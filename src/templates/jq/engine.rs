//! The filter itself: jaq, with the natives that reach outside replaced, and those of the dispatcher added.
//!
//! Runs in a worker only. What a filter sees: `.`, `$ENV` and `env` (what was allowed), `$PATH`, `cuid2`, `@md5`, `@sha1`.
//! What it does not: a further input, a terminal, an exit.

use std::{
    fmt::{self, Write as _},
    io,
};

use jaq_core::{
    Compiler, Ctx, DataT, Error, Filter, Lut, RunPtr, ValT as _, Vars,
    compile::Undefined,
    data::HasLut,
    load::{self, Arena, File, Loader},
    native::{self, Fun, bome, v},
};
use jaq_json::{Val, read, write};
use sha1::Digest;

use super::frame::{Answer, Start};

/// The longest message of a filter that is passed on, in bytes. It may quote the whole body.
const MESSAGE_BYTES: usize = 2 * 1024;
/// The most faults that are told of a filter that does not compile.
const FAULTS: usize = 5;

/// A compiled filter.
pub struct Engine {
    world: World,
    output_bytes: usize,
}

struct World {
    filter: Filter<Kind>,
    env: Val,
}

/// What filters are made over: JSON, and a world that natives can look at.
struct Kind;

impl DataT for Kind {
    type V<'a> = Val;
    type Data<'a> = &'a World;
}

impl<'a> HasLut<'a, Kind> for &'a World {
    fn lut(&self) -> &'a Lut<Kind> {
        &self.filter.lut
    }
}

impl Engine {
    /// Compiles a filter, or says at which line and column it is wrong.
    pub fn compile(start: &Start) -> Result<Self, String> {
        let arena = Arena::default();
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let file = File { code: start.filter.as_str(), path: () };
        let tell = |faults: Vec<String>| {
            let more = if faults.len() > FAULTS { "; and more" } else { "" };
            format!("{}:{}{more}", start.origin, faults[..faults.len().min(FAULTS)].join("; "))
        };
        let modules = Loader::new(defs).load(&arena, file);
        let told =
            |it: load::Errors<&str, ()>| tell(it.into_iter().flat_map(|(file, it)| of_syntax(file.code, it)).collect());
        let modules = modules.map_err(told)?;
        // Files of data are asked for apart from modules.
        load::import(&modules, |_| Err(String::new())).map_err(told)?;
        let filter = Compiler::default().with_funs(natives()).with_global_vars(["$ENV", "$PATH"]).compile(modules);
        let filter =
            filter.map_err(|it| tell(it.into_iter().flat_map(|(file, it)| of_names(file.code, it)).collect()))?;
        let pair = |(name, value): &(String, String)| (Val::from(name.clone()), Val::from(value.clone()));
        let env = Val::obj(start.env.iter().map(pair).collect());
        Ok(Self { world: World { filter, env }, output_bytes: start.output_bytes })
    }

    /// The first output for one request. Those after it are not computed.
    pub fn run(&self, path: &str, body: &[u8]) -> Answer {
        let body = match read::parse_single(body) {
            Ok(body) => body,
            Err(err) => return Answer::Failed(format!("the body cannot be read: {err}")),
        };
        let vars = Vars::new([self.world.env.clone(), Val::from(path.to_owned())]);
        let context = Ctx::<Kind>::new(&self.world, vars);
        let mut outputs = self.world.filter.id.run((context, body));
        match outputs.next() {
            None => Answer::Failed("it has no output".into()),
            Some(Err(exception)) => Answer::Failed(match exception.get_err() {
                Ok(err) => message(&err),
                Err(_) => "it ended before it had an output".into(),
            }),
            Some(Ok(output)) => {
                let mut json = Bounded { bytes: Vec::new(), most: self.output_bytes };
                match write::write(&mut json, &write::Pp::default(), 0, &output) {
                    Ok(()) => Answer::Output(json.bytes),
                    Err(_) => Answer::Failed(format!("its output is larger than {} bytes", self.output_bytes)),
                }
            }
        }
    }
}

/// The natives of jaq, those replaced that reach out of the process, and ours.
fn natives() -> impl Iterator<Item = Fun<Kind>> {
    let replaced = ["env", "halt", "debug_empty", "stderr_empty"];
    let usual = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let ours: [native::Filter<RunPtr<Kind>>; 9] = [
        ("env", v(0), |cv| bome(Ok(cv.0.data().env.clone()))),
        ("cuid2", v(0), |_| bome(Ok(Val::from(cuid2::create_id())))),
        ("@md5", v(0), |cv| bome(Ok(Val::from(hex(&md5::Md5::digest(text(cv.1))))))),
        ("@sha1", v(0), |cv| bome(Ok(Val::from(hex(&sha1::Sha1::digest(text(cv.1))))))),
        ("halt", v(1), |_| bome(Err(Error::str("a filter cannot halt here; use error")))),
        ("input", v(0), |_| bome(Err(Error::str("there is no further input")))),
        ("inputs", v(0), |_| Box::new(std::iter::empty())),
        // A filter has nobody to talk to but the one who asked.
        ("debug_empty", v(0), |_| Box::new(std::iter::empty())),
        ("stderr_empty", v(0), |_| Box::new(std::iter::empty())),
    ];
    usual.filter(move |it| !replaced.contains(&it.0)).chain(ours.into_iter().map(native::run::<Kind>))
}

/// A string as it is, and anything else as JSON.
fn text(value: Val) -> Vec<u8> {
    match value.into_string() {
        Val::TStr(text) | Val::BStr(text) => text.to_vec(),
        other => other.to_string().into_bytes(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an error says: of `error("x")` x itself.
fn message(err: &Error<Val>) -> String {
    let mut message = Message(String::new());
    match write!(message, "{err}") {
        // An error that is a string is quoted as JSON has it.
        Ok(()) => serde_json::from_str(&message.0).unwrap_or(message.0),
        Err(_) => format!("{}…", message.0.trim_start_matches('"')),
    }
}

fn of_syntax(code: &str, error: load::Error<&str>) -> Vec<String> {
    let wrong = |part: &str, expected: &str| {
        let found: String = part.chars().take(20).take_while(|it| *it != '\n').collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
        format!("{}: expected {expected}, and there is {found}", position(code, part))
    };
    match error {
        load::Error::Io(parts) => {
            parts.into_iter().map(|(part, _)| format!("{}: modules cannot be imported", position(code, part))).collect()
        }
        load::Error::Lex(faults) => faults.into_iter().map(|(it, part)| wrong(part, it.as_str())).collect(),
        load::Error::Parse(faults) => faults.into_iter().map(|(it, part)| wrong(part, it.as_str())).collect(),
    }
}

fn of_names(code: &str, faults: Vec<(&str, Undefined)>) -> Vec<String> {
    let fault = |(part, what): (&str, Undefined)| match what {
        Undefined::Filter(arity) => format!("{}: there is no filter {part}/{arity}", position(code, part)),
        what => format!("{}: there is no {} {part}", position(code, part), what.as_str()),
    };
    faults.into_iter().map(fault).collect()
}

/// The line and column at which `part` of `code` begins, both from 1.
fn position(code: &str, part: &str) -> String {
    let before = code.get(..load::span(code, part).start).unwrap_or(code);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

/// JSON up to so many bytes.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text up to [`MESSAGE_BYTES`].
struct Message(String);

impl fmt::Write for Message {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = MESSAGE_BYTES.saturating_sub(self.0.len());
        let end = more.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|it| *it <= room).last().unwrap_or(0);
        self.0.push_str(&more[..end]);
        if end == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
