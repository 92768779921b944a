//! GET, SET and PING of RESP2, for one map that all connections share.

use crate::pool::{Outbound, Pool};
use bytes::Buf;
use protosocket::{Decoder, DeserializeError, Encoder, MessageReactor, ReactorStatus, SendBudget};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    // The runtime has one thread, so that needs no lock.
    static STORE: RefCell<HashMap<Vec<u8>, Vec<u8>>> = RefCell::default();
}

const MAX_ARGUMENTS: usize = 3;
const MAX_BULK: usize = 16 << 20; // bytes

#[derive(Default)]
pub struct Codec(Pool);

impl protosocket::Codec for Codec {}

/// A command is where it was read to, and the place of each argument in that. The reply takes the same memory.
pub struct Command {
    bytes: Vec<u8>,
    arguments: [Range<usize>; MAX_ARGUMENTS],
}

impl Decoder for Codec {
    type Message = Command;

    fn decode(&mut self, buffer: impl Buf) -> Result<(usize, Command), DeserializeError> {
        let input = buffer.chunk();
        let (count, mut at) = number(input, 0, b'*')?;
        if !(1..=MAX_ARGUMENTS).contains(&count) {
            return Err(DeserializeError::InvalidBuffer);
        }
        let mut arguments = [0..0, 0..0, 0..0];
        for argument in arguments.iter_mut().take(count) {
            let (length, start) = number(input, at, b'$')?;
            if length > MAX_BULK {
                return Err(DeserializeError::InvalidBuffer);
            }
            *argument = start..start + length;
            at = start + length + 2;
            if input.len() < at {
                return Err(DeserializeError::IncompleteBuffer { next_message_size: at });
            }
        }
        let mut bytes = self.0.take();
        bytes.extend_from_slice(&input[..at]);
        Ok((at, Command { bytes, arguments }))
    }
}

/// Reads a line of a mark and a number. Returns the number and where the line ends.
fn number(input: &[u8], at: usize, mark: u8) -> Result<(usize, usize), DeserializeError> {
    const LONGEST: usize = 16; // bytes of such a line
    let line = &input[at.min(input.len())..];
    let Some(end) = line.iter().position(|&b| b == b'\n') else {
        return Err(match line.len() {
            0..LONGEST => DeserializeError::IncompleteBuffer { next_message_size: input.len() + 1 },
            _ => DeserializeError::InvalidBuffer,
        });
    };
    if !(3..=LONGEST).contains(&end) || line[0] != mark || line[end - 1] != b'\r' {
        return Err(DeserializeError::InvalidBuffer);
    }
    let mut value = 0;
    for &digit in &line[1..end - 1] {
        if !digit.is_ascii_digit() {
            return Err(DeserializeError::InvalidBuffer);
        }
        value = 10 * value + usize::from(digit - b'0');
    }
    Ok((value, at + end + 1))
}

impl Encoder for Codec {
    type Message = Vec<u8>;
    type Serialized = Outbound;

    fn encode(&mut self, reply: Vec<u8>) -> Outbound {
        reply.into()
    }

    fn return_buffer(&mut self, buffer: Outbound) {
        self.0.give(buffer)
    }
}

/// The replies that have not yet found room in the send queue.
#[derive(Default)]
pub struct Reactor(VecDeque<Vec<u8>>);

impl MessageReactor for Reactor {
    type Codec = Codec;
    type Inbound = Command;
    type Outbound = Vec<u8>;
    type LogicalOutbound = ();

    fn on_inbound_message(&mut self, command: Command) -> ReactorStatus {
        self.0.push_back(run(command));
        ReactorStatus::Continue
    }

    fn on_outbound_message(&mut self, (): ()) -> Vec<u8> {
        Vec::new() // nobody has a sender
    }

    fn poll_outbound_many(mut self: Pin<&mut Self>, _: &mut Context<'_>, outbound: &mut SendBudget<'_, Codec>) -> Poll<Option<()>> {
        while !self.0.is_empty() {
            let Some(permit) = outbound.reserve() else { break };
            if let Some(reply) = self.0.pop_front() {
                permit.send(reply);
            }
        }
        Poll::Pending // there may always be more
    }
}

/// Runs a command and returns its reply.
fn run(command: Command) -> Vec<u8> {
    let Command { mut bytes, arguments: [name, key, value] } = command;
    STORE.with_borrow_mut(|store| {
        let name = &bytes[name];
        if name.eq_ignore_ascii_case(b"GET") && !key.is_empty() {
            match store.get(&bytes[key]) {
                Some(found) => {
                    bytes.clear();
                    bytes.push(b'$');
                    bytes.extend_from_slice(found.len().to_string().as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                    bytes.extend_from_slice(found);
                    bytes.extend_from_slice(b"\r\n");
                }
                None => replace(&mut bytes, b"$-1\r\n"),
            }
        } else if name.eq_ignore_ascii_case(b"SET") && !value.is_empty() {
            match store.get_mut(&bytes[key.clone()]) {
                Some(known) => {
                    known.clear();
                    known.extend_from_slice(&bytes[value]);
                }
                None => {
                    store.insert(bytes[key].to_vec(), bytes[value].to_vec());
                }
            }
            replace(&mut bytes, b"+OK\r\n");
        } else if name.eq_ignore_ascii_case(b"PING") {
            replace(&mut bytes, b"+PONG\r\n");
        } else {
            replace(&mut bytes, b"-ERR unknown command\r\n");
        }
    });
    bytes
}

fn replace(bytes: &mut Vec<u8>, reply: &[u8]) {
    bytes.clear();
    bytes.extend_from_slice(reply);
}
