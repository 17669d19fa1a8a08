//! Runs a plan stage by stage, and reads what each has written.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Reading};
use crate::model::turns::Turn;
use crate::ops::{Op, Section, Written};
use crate::plan::{Dispatch, Needed, Plan, SamplingMode, Stage, Step};
use crate::session::Session;

/// A step that is run stage by stage. No other session of the model begins one while it lives.
pub struct Runner<'a> {
    session: &'a mut Session,
    step: Step,
    next: usize,
    ids: Vec<u32>,
    _turn: Turn,
}

impl<'a> Runner<'a> {
    /// Before the first dispatch of a step that reads `ids`, with logits after the last of them.
    ///
    /// # Errors
    /// [`Error::ContextFull`], [`Error::OutOfMemory`].
    pub async fn begin(session: &'a mut Session, ids: &[u32]) -> Result<Self> {
        let turn = session.decoder().turn().await;
        let step = session.begin_step(ids, 1)?;
        session.poison_adapters();
        Ok(Self { session, step, next: 0, ids: ids.to_vec(), _turn: turn })
    }

    /// After the last dispatch: the session has read the step's tokens.
    pub fn end(self) {
        self.session.end_step(&self.step, &self.ids);
    }

    /// The plan that the step runs.
    pub fn plan(&self) -> &Plan {
        self.session.plan(self.ids.len() > 1)
    }

    /// The step.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// The session that takes it.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// Leaves out all layers before this one that have not been run: it gets what the last one has
    /// left.
    pub fn skip_to(&mut self, layer: Option<u32>) {
        let rest = &self.plan().dispatches()[self.next..];
        let before = |of: Option<u32>| of.is_some_and(|of| layer.is_none_or(|layer| of < layer));
        self.next += rest.iter().take_while(|dispatch| before(dispatch.stage.layer)).count();
    }

    /// Poisons the stage's output and runs its dispatches. False where the plan goes on with
    /// another stage.
    ///
    /// # Errors
    /// [`Error::Gpu`] for a stage that writes no rows.
    pub fn run(&mut self, op: Op, layer: Option<u32>) -> Result<bool> {
        let stage = Stage { layer, op };
        let plan = self.session.plan(self.ids.len() > 1);
        let count = plan.dispatches()[self.next..].iter().take_while(|d| d.stage == stage).count();
        if count == 0 {
            return Ok(false);
        }
        let output = self.written(stage)?;
        let model = self.session.engine().model();
        if !output.adds {
            // Sections that touch are one write, and so are rows without a gap: in a browser each
            // takes its time.
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for row in 0..output.rows {
                for section in &output.sections {
                    let at = u64::from(row) * u64::from(output.stride) + u64::from(section.first);
                    match runs.last_mut() {
                        Some((first, len)) if *first + *len == at => *len += u64::from(section.len),
                        _ => runs.push((at, section.len.into())),
                    }
                }
            }
            let longest = runs.iter().map(|(_, len)| *len).max().unwrap_or(0);
            let poison = vec![f32::NAN; longest as usize];
            for (first, len) in runs {
                model.gpu.write(output.buffer, 4 * first, bytemuck::cast_slice(&poison[..len as usize]));
            }
        }
        let mut encoder = model.gpu.device().create_command_encoder(&Default::default());
        // Pieces of attention are put together in any case, to be compared; project_out puts two
        // together once more.
        let seen = |d: &&Dispatch| {
            d.is_needed(&self.step, SamplingMode::Host) || (d.needed == Needed::Splits && self.step.splits > 1)
        };
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in plan.dispatches()[self.next..self.next + count].iter().filter(seen) {
            dispatch.encode(&mut pass, &self.step, model.kv());
        }
        drop(pass);
        model.gpu.queue().submit([encoder.finish()]);
        self.next += count;
        Ok(true)
    }

    /// Runs a stage that every plan has.
    ///
    /// # Errors
    /// [`Error::Gpu`] where this one does not.
    pub fn must_run(&mut self, op: Op, layer: Option<u32>) -> Result<()> {
        match self.run(op, layer)? {
            true => Ok(()),
            false => Err(missing(op)),
        }
    }

    /// What a stage writes.
    pub fn written(&self, stage: Stage) -> Result<Written<'_>> {
        let model = self.session.engine().model();
        model.written(stage.op, self.step.tokens).ok_or_else(|| misplaced(stage))
    }

    /// Everything that an operation has written, section after section, token by token.
    pub async fn output(&self, op: Op) -> Result<Vec<f32>> {
        self.copied(op)?.arrive(self.session.engine().model().gpu()).await
    }

    /// The same, but read later: what follows may overwrite it.
    pub fn copied(&self, op: Op) -> Result<Copied> {
        let rows = self.written(Stage { layer: None, op })?.rows;
        self.copied_rows(op, &[(0, rows)])
    }

    /// The same of some tokens.
    pub fn copied_of(&self, op: Op, tokens: &[u32]) -> Result<Copied> {
        self.copied_rows(op, &tokens.iter().map(|token| (*token, 1)).collect::<Vec<_>>())
    }

    /// The same of rows: the first, and how many.
    fn copied_rows(&self, op: Op, rows: &[(u32, u32)]) -> Result<Copied> {
        let output = self.written(Stage { layer: None, op })?;
        let bytes = |rows: u32| 4 * u64::from(rows) * u64::from(output.stride);
        let place = |(first, count): &(u32, u32)| (output.buffer.clone(), bytes(*first), bytes(*count));
        let places: Vec<_> = rows.iter().map(place).collect();
        let reading = self.session.engine().model().gpu.reading_of(&places);
        Ok(Copied { op, reading, stride: output.stride, sections: output.sections })
    }

    /// The rows that it has written, gaps included.
    pub async fn rows(&self, op: Op) -> Result<Vec<f32>> {
        let output = self.written(Stage { layer: None, op })?;
        let gpu = &self.session.engine().model().gpu;
        gpu.read(output.buffer, 0, u64::from(output.rows) * u64::from(output.stride)).await
    }
}

/// A stage's output on its way to the host.
pub struct Copied {
    /// Whose it is.
    pub op: Op,
    reading: Reading,
    stride: u32,
    sections: Vec<Section>,
}

impl Copied {
    /// As [`Runner::output`] gives it.
    pub async fn arrive(self, gpu: &Gpu) -> Result<Vec<f32>> {
        let all = gpu.arrive_once::<f32>(self.reading).await?;
        let rows = all.chunks_exact(self.stride as usize);
        Ok(rows.flat_map(|row| self.sections.iter().flat_map(|s| cut(row, s.first, s.len))).copied().collect())
    }
}

fn cut(row: &[f32], first: u32, len: u32) -> &[f32] {
    &row[first as usize..(first + len) as usize]
}

/// A plan lacks what every plan has.
pub fn missing(op: Op) -> Error {
    Error::Gpu { detail: format!("the plan has no {} where the CPU twin has it", op.name()) }
}

/// A stage that the twin does not have where the plan has it.
pub fn misplaced(stage: Stage) -> Error {
    Error::Gpu { detail: format!("the plan has \"{stage}\" where the CPU twin has no such line") }
}
