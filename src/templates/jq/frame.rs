//! How a replica and the workers of its filter talk: a length and so many bytes, over two pipes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// The bytes of a length.
pub const HEAD_BYTES: usize = 4;

/// What a worker is told when it starts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The filter's text.
    pub filter: String,
    /// Where it is from, for messages.
    pub origin: String,
    /// What the filter sees as its environment, by name.
    pub env: Vec<(String, String)>,
    /// How much processor time one request may take, in seconds. The replica's own clock is first.
    pub cpu_secs: u64,
    /// How much memory the filter may take on top of the worker itself.
    pub memory_bytes: u64,
    /// The largest output.
    pub output_bytes: usize,
}

/// What a worker answers, to its start and to each request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The filter's first output, as JSON; of a start nothing.
    Output(Vec<u8>),
    /// Why there is none.
    Failed(String),
}

impl Answer {
    /// As it is sent: a byte that says which, and the rest.
    pub fn encode(self) -> Vec<u8> {
        let (kind, mut rest) = match self {
            Self::Output(json) => (b'=', json),
            Self::Failed(why) => (b'!', why.into_bytes()),
        };
        rest.insert(0, kind);
        rest
    }

    /// None: a worker would not say that.
    pub fn decode(mut bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        match bytes.remove(0) {
            b'=' => Some(Self::Output(bytes)),
            b'!' => Some(Self::Failed(String::from_utf8_lossy(&bytes).into_owned())),
            _ => None,
        }
    }
}

/// The head of a frame that has so many bytes.
pub fn head(bytes: usize) -> io::Result<[u8; HEAD_BYTES]> {
    let length = u32::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(length.to_le_bytes())
}

/// Writes one frame.
pub fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&head(bytes.len())?)?;
    to.write_all(bytes)?;
    to.flush()
}

/// Reads one frame; none when the other side is gone.
pub fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD_BYTES];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    }
    let mut bytes = vec![0; u32::from_le_bytes(head) as usize];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
