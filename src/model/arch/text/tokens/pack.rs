//! Tokens one after the other, and what an encoder looks up for each.

use bytes::{BufMut as _, BytesMut};

use super::super::Positions;
use super::Limits;
use crate::types::{DataType, Rows, Shape, Tensor};

/// Bytes that a packed token takes: its id, type and position.
pub(super) const TOKEN_BYTES: usize = 12;

/// Rows as they are packed.
pub(super) struct Packing {
    positions: Positions,
    has_types: bool,
    lengths: Vec<u32>,
    ids: BytesMut,
    types: BytesMut,
    places: BytesMut,
}

impl Packing {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            positions: limits.positions,
            // A single type is part of the words' table.
            has_types: limits.types.is_some_and(|types| types > 1),
            lengths: Vec::new(),
            ids: BytesMut::new(),
            types: BytesMut::new(),
            places: BytesMut::new(),
        }
    }

    /// Appends a row of ids and types that are within the model's limits.
    pub(super) fn push(&mut self, tokens: impl Iterator<Item = (u32, u32)>) {
        let mut length = 0;
        let mut counted = 0;
        for (id, kind) in tokens {
            self.ids.put_u32_le(id);
            if self.has_types {
                self.types.put_u32_le(kind);
            }
            match self.positions {
                Positions::Counted => self.places.put_u32_le(length),
                Positions::AfterPadding(padding) if id == padding => self.places.put_u32_le(padding),
                Positions::AfterPadding(padding) => {
                    counted += 1;
                    self.places.put_u32_le(padding + counted);
                }
                Positions::Rotary(_) => {}
            }
            length += 1;
        }
        self.lengths.push(length);
    }

    /// The rows; `None` if one is empty.
    pub(super) fn rows(self) -> Option<Rows> {
        let tensor = |data: BytesMut| {
            let shape = Shape::new(&[data.len() / 4]);
            Tensor::new(DataType::Uint32, shape, data.freeze()).ok()
        };
        let mut inputs = vec![tensor(self.ids)?];
        if self.has_types {
            inputs.push(tensor(self.types)?);
        }
        if !matches!(self.positions, Positions::Rotary(_)) {
            inputs.push(tensor(self.places)?);
        }
        Rows::packed(inputs, &self.lengths)
    }
}
