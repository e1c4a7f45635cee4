use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Int, Tensor};

use crate::config::known_classes;
use crate::{ClassRows, ConditioningConfig, ModelError};

/// Row of the null class.
const NULL_ROW: i64 = 0;

/// The context vectors that the transformer attends to: one set for unconditional models, otherwise a table by class.
/// Checkpoint keys `context_emb`, `class_emb`.
#[derive(Module, Debug)]
pub struct ContextEmbedding {
    /// `[context_tokens, context_dim]`
    context_emb: Option<Param<Tensor<2>>>,
    /// `[classes + 1, context_tokens, context_dim]`; row [`NULL_ROW`] is the null class.
    class_emb: Option<Param<Tensor<3>>>,
    #[module(skip)]
    class_rows: ClassRows,
}

impl ContextEmbedding {
    /// Freshly initialised context vectors, normally distributed around 0.
    pub fn new(
        config: &ConditioningConfig,
        [context_tokens, context_dim]: [usize; 2],
        device: &Device,
    ) -> Self {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: config.initial_deviation,
        };
        let embedding = if config.classes == 0 {
            Self {
                context_emb: Some(normal.init([context_tokens, context_dim], device)),
                class_emb: None,
                class_rows: config.class_rows,
            }
        } else {
            let rows = config.classes + 1;
            Self {
                context_emb: None,
                class_emb: Some(normal.init([rows, context_tokens, context_dim], device)),
                class_rows: config.class_rows,
            }
        };
        if config.trainable {
            embedding
        } else {
            embedding.no_grad()
        }
    }

    /// Number of classes; 0 for an unconditional model.
    pub fn classes(&self) -> usize {
        self.class_emb
            .as_ref()
            .map_or(0, |table| table.dims()[0] - 1)
    }

    /// The context for a batch of samples of `class`, or without a class.
    ///
    /// # Shapes
    /// - output: `[batch, context_tokens, context_dim]`
    ///
    /// # Errors
    /// If the class is out of range, or passed to an unconditional model.
    pub fn of(&self, class: Option<usize>, batch: usize) -> Result<Tensor<3>, ModelError> {
        let Some(class) = class else {
            return Ok(self.unconditional(batch));
        };
        self.check(class)?;
        Ok(self.rows(&vec![self.class_row(class); batch]))
    }

    /// The contexts of a training batch: by label, or the null class where `dropped`; without labels, the unconditional
    /// context, which is never dropped.
    ///
    /// # Shapes
    /// - output: `[batch, context_tokens, context_dim]`
    ///
    /// # Errors
    /// If a label is out of range, or passed to an unconditional model.
    pub fn training(
        &self,
        labels: Option<&[usize]>,
        dropped: &[bool],
    ) -> Result<Tensor<3>, ModelError> {
        let Some(labels) = labels else {
            return Ok(self.unconditional(dropped.len()));
        };
        labels.iter().try_for_each(|&label| self.check(label))?;
        let rows: Vec<i64> = labels
            .iter()
            .zip(dropped)
            .map(|(&label, &drop)| {
                if drop {
                    NULL_ROW
                } else {
                    self.class_row(label)
                }
            })
            .collect();
        Ok(self.rows(&rows))
    }

    fn class_row(&self, class: usize) -> i64 {
        match self.class_rows {
            ClassRows::AfterNull => class as i64 + 1,
            ClassRows::Published => class as i64,
        }
    }

    fn check(&self, class: usize) -> Result<(), ModelError> {
        let known = self.classes();
        if class < known {
            return Ok(());
        }
        Err(ModelError::Class {
            class: class.to_string(),
            known: known_classes(known),
        })
    }

    /// The context of an unconditional sample: the shared set, or the null class.
    ///
    /// # Shapes
    /// - output: `[batch, context_tokens, context_dim]`
    pub fn unconditional(&self, batch: usize) -> Tensor<3> {
        match &self.context_emb {
            Some(context) => {
                let [tokens, width] = context.dims();
                context
                    .val()
                    .unsqueeze::<3>()
                    .expand([batch, tokens, width])
            }
            None => self.null(batch),
        }
    }

    /// The null context for guidance: zeros for an unconditional model, otherwise the null class.
    ///
    /// # Shapes
    /// - output: `[batch, context_tokens, context_dim]`
    pub fn null(&self, batch: usize) -> Tensor<3> {
        match &self.context_emb {
            Some(context) => {
                let [tokens, width] = context.dims();
                Tensor::zeros([batch, tokens, width], &context.device())
            }
            None => self.rows(&vec![NULL_ROW; batch]),
        }
    }

    fn rows(&self, rows: &[i64]) -> Tensor<3> {
        let table = self
            .class_emb
            .as_ref()
            .expect("an unconditional model has no rows")
            .val();
        let rows = Tensor::<1, Int>::from_ints(rows, &table.device());
        table.select(0, rows)
    }
}
