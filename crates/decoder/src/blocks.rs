use std::ops::Range;
use std::sync::mpsc::sync_channel;

use assay_checkpoint::DecoderConfig;
use candle_core::{DType, Device};

use crate::DecoderError;
use crate::arch::{self, Block};
use crate::decoder::{Arithmetic, Placement, Residency};
use crate::parts::load::{Load, Stored};

/// The blocks of a model, in memory or in their files.
pub(crate) struct Blocks {
    reader: Reader,
    /// All of them, or none where they are streamed.
    resident: Option<Vec<Box<dyn Block>>>,
}

/// Reads one block.
struct Reader {
    stored: Stored,
    config: DecoderConfig,
    dtype: DType,
    devices: Vec<Device>,
    as_stored: bool,
    streamed: bool,
}

impl Reader {
    /// Where a block lies: equal shares in order.
    fn device(&self, layer: usize) -> &Device {
        &self.devices[layer * self.devices.len() / self.config.n_layers]
    }

    fn read(&self, layer: usize) -> Result<Box<dyn Block>, DecoderError> {
        let from = Load {
            source: self.stored.source(),
            dtype: self.dtype,
            device: self.device(layer),
            as_stored: self.as_stored,
            in_file_order: self.streamed,
        };
        let block = arch::load_block(&from, &self.config, layer)?;
        // On a GPU every thread has a stream of its own, and a copy from pageable
        // memory may still be under way when the call for it returns: whoever
        // computes with the block on another thread would not wait for it. On
        // the CPU this does nothing.
        from.device.synchronize()?;
        Ok(block)
    }
}

/// What is done with each block in turn.
type Visit<'a> = &'a mut dyn FnMut(usize, &Device, &dyn Block) -> Result<(), DecoderError>;

impl Blocks {
    pub(crate) fn load(
        stored: &Stored,
        config: &DecoderConfig,
        placement: &Placement,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DecoderError> {
        let reader = Reader {
            stored: stored.clone(),
            config: config.clone(),
            dtype: placement.dtype,
            devices: placement.devices.to_vec(),
            as_stored: placement.arithmetic == Arithmetic::AsStored,
            streamed: placement.residency == Residency::Streamed,
        };
        let resident = match placement.residency {
            Residency::Streamed => None,
            Residency::Resident => {
                let mut blocks = Vec::with_capacity(config.n_layers);
                for layer in 0..config.n_layers {
                    blocks.push(reader.read(layer)?);
                    progress(layer + 1, config.n_layers);
                }
                Some(blocks)
            }
        };
        Ok(Self { reader, resident })
    }

    /// Where a block lies.
    pub(crate) fn device(&self, layer: usize) -> &Device {
        self.reader.device(layer)
    }

    /// Something about one block.
    pub(crate) fn with<T>(
        &self,
        layer: usize,
        f: impl FnOnce(&dyn Block) -> Result<T, DecoderError>,
    ) -> Result<T, DecoderError> {
        match &self.resident {
            Some(blocks) => f(blocks[layer].as_ref()),
            None => f(self.reader.read(layer)?.as_ref()),
        }
    }

    /// Goes through the blocks of `range` in order. Streamed ones are read by
    /// a second thread, one ahead of the one that is visited.
    pub(crate) fn each(&self, range: Range<usize>, visit: Visit) -> Result<(), DecoderError> {
        if let Some(blocks) = &self.resident {
            for (layer, block) in range.clone().zip(&blocks[range]) {
                visit(layer, self.device(layer), block.as_ref())?;
            }
            return Ok(());
        }
        std::thread::scope(|scope| {
            // No room in the channel: the reader holds one block until the
            // visitor takes it.
            let (give, take) = sync_channel(0);
            let reader = &self.reader;
            let layers = range.clone();
            scope.spawn(move || {
                for layer in layers {
                    let block = reader.read(layer);
                    let failed = block.is_err();
                    // A visitor that is gone has failed: nothing more to read.
                    if give.send(block).is_err() || failed {
                        return;
                    }
                }
            });
            for layer in range {
                let Ok(block) = take.recv() else {
                    return Err(DecoderError::Stream { layer });
                };
                visit(layer, self.device(layer), block?.as_ref())?;
            }
            Ok(())
        })
    }
}
