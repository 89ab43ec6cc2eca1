//! How large a model from outside may be.

/// Bounds on a model's file; each is an error of its own when it is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file. 2 GiB by default, the most that protobuf can write.
    pub file_bytes: u64,
    /// Bytes that its messages may take in memory beside the tensors' own. 1 GiB by default.
    pub decoded_bytes: u64,
    /// Bytes of data beside the file, all tensors together. 4 GiB by default.
    pub external_bytes: u64,
    /// Nodes, those of inner graphs included. 100,000 by default.
    pub nodes: usize,
    /// Elements of one tensor. 2^31 by default.
    pub elements: u64,
    /// Graphs within graphs. 8 by default.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 2 << 30,
            decoded_bytes: 1 << 30,
            external_bytes: 4 << 30,
            nodes: 100_000,
            elements: 1 << 31,
            depth: 8,
        }
    }
}
