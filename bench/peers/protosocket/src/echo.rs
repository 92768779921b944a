//! Whatever has arrived is a message, and goes back.

use crate::pool::{Outbound, Pool};
use bytes::Buf;
use protosocket::{Decoder, DeserializeError, Encoder, MessageReactor, ReactorStatus, SendBudget};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

#[derive(Default)]
pub struct Codec(Pool);

impl protosocket::Codec for Codec {}

impl Decoder for Codec {
    type Message = Vec<u8>;

    fn decode(&mut self, buffer: impl Buf) -> Result<(usize, Vec<u8>), DeserializeError> {
        let mut message = self.0.take();
        message.extend_from_slice(buffer.chunk());
        Ok((message.len(), message))
    }
}

impl Encoder for Codec {
    type Message = Vec<u8>;
    type Serialized = Outbound;

    fn encode(&mut self, message: Vec<u8>) -> Outbound {
        message.into()
    }

    fn return_buffer(&mut self, buffer: Outbound) {
        self.0.give(buffer)
    }
}

/// The messages that have not yet found room in the send queue.
#[derive(Default)]
pub struct Reactor(VecDeque<Vec<u8>>);

impl MessageReactor for Reactor {
    type Codec = Codec;
    type Inbound = Vec<u8>;
    type Outbound = Vec<u8>;
    type LogicalOutbound = ();

    fn on_inbound_message(&mut self, message: Vec<u8>) -> ReactorStatus {
        self.0.push_back(message);
        ReactorStatus::Continue
    }

    fn on_outbound_message(&mut self, (): ()) -> Vec<u8> {
        Vec::new() // nobody has a sender
    }

    fn poll_outbound_many(mut self: Pin<&mut Self>, _: &mut Context<'_>, outbound: &mut SendBudget<'_, Codec>) -> Poll<Option<()>> {
        while !self.0.is_empty() {
            let Some(permit) = outbound.reserve() else { break };
            if let Some(message) = self.0.pop_front() {
                permit.send(message);
            }
        }
        Poll::Pending // there may always be more
    }
}
