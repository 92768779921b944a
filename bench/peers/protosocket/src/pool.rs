//! Memory of messages, used again and again.

use bytes::Buf;

// As many as the crate lets a connection have in its send queue.
const MAX_POOLED: usize = 128;

/// The buffers of one connection that hold nothing now.
#[derive(Default)]
pub struct Pool(Vec<Vec<u8>>);

impl Pool {
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    pub fn give(&mut self, outbound: Outbound) {
        if self.0.len() < MAX_POOLED {
            let mut bytes = outbound.bytes;
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

/// Bytes on their way out.
pub struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
}

impl From<Vec<u8>> for Outbound {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }
}

impl Buf for Outbound {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
    }
}
