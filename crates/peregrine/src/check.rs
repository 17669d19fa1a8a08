//! Comparison of the GPU with the CPU twin on any model: dispatch by dispatch, layer by layer, states included.
//!
//! For every layer the GPU's own input is read back and given to the twin, so that an error shows in the stage that makes it
//! and not in all that follow. Before a dispatch runs, its output is overwritten with NaN where it does not add to what is
//! there: what a kernel forgets to write cannot look right by accident. One layer's weights are on the CPU at a time.

mod neighbours;

pub(crate) use self::neighbours::kept;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::Strides;
use crate::plan::{Dispatch, Draw, Needed, Stage, Step};
use crate::reference::kernels::{self, LayerState};
use crate::reference::model::{self, Layer, Trace};
use crate::session::Session;

/// One comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which dispatch, or which state after it.
    pub stage: String,
    /// Tokens in the step.
    pub tokens: u32,
    /// Largest |GPU - CPU|, or infinity when one of them is not a number.
    pub difference: f32,
    /// Largest |CPU|: what the difference is measured against.
    pub magnitude: f32,
    /// Where the largest difference is: an index into the stage's output, token by token.
    pub index: usize,
    /// The GPU's value there.
    pub found: f32,
    /// The CPU's value there.
    pub expected: f32,
    /// The share of the largest value up to which a difference is rounding.
    pub tolerance: f32,
}

/// A difference up to this share of the largest value is rounding: sums of f32 in another order.
pub const TOLERANCE: f32 = 5e-5;
/// The same where both factors of a product were rounded to f16, by half a step of 2^-11 each: cooperative matrices, and all that
/// follows from them in a layer.
pub const TOLERANCE_F16: f32 = 4e-3;

impl Comparison {
    /// Compares two slices of the same meaning. A length that differs is a difference.
    pub fn of(stage: impl Into<String>, tokens: u32, found: &[f32], expected: &[f32]) -> Self {
        let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let mut worst = Self {
            stage: stage.into(),
            tokens,
            difference: 0.0,
            magnitude,
            index: 0,
            found: 0.0,
            expected: 0.0,
            tolerance: TOLERANCE,
        };
        if found.len() != expected.len() {
            return Self { difference: f32::INFINITY, index: found.len().min(expected.len()), ..worst };
        }
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let difference = if f.is_finite() && e.is_finite() { (f - e).abs() } else { f32::INFINITY };
            if difference > worst.difference {
                worst = Self { difference, index, found: *f, expected: *e, ..worst };
            }
        }
        worst
    }

    /// The difference as a share of the largest value.
    pub fn relative(&self) -> f32 {
        self.difference / self.magnitude.max(1e-3)
    }

    /// The name of the stage without its layer.
    pub fn kind(&self) -> &str {
        self.stage.split_once(", ").map_or(self.stage.as_str(), |(_, kind)| kind)
    }

    /// In words: where, and what was found instead of what.
    pub fn describe(&self) -> String {
        format!(
            "{}: at index {} GPU {:e}, CPU {:e}, largest value {:.3e}",
            self.stage, self.index, self.found, self.expected, self.magnitude
        )
    }

    /// Whether the difference is rounding.
    pub fn is_close(&self) -> bool {
        // An infinite magnitude would excuse anything.
        self.difference.is_finite() && self.difference <= self.tolerance * self.magnitude.max(1e-3)
    }
}

/// The worst comparison of each kind of stage and how many there were, in the order of the model.
pub fn worst(results: &[Comparison]) -> Vec<(&Comparison, usize)> {
    let mut worst: Vec<(&Comparison, usize)> = Vec::new();
    for r in results {
        match worst.iter_mut().find(|(w, _)| w.kind() == r.kind()) {
            Some((w, count)) => {
                *count += 1;
                if r.relative() > w.relative() || !r.difference.is_finite() {
                    *w = r;
                }
            }
            None => worst.push((r, 1)),
        }
    }
    worst
}

/// `tokens` ids spread over the vocabulary, the same every time.
pub fn spread_ids(vocab_size: u32, tokens: u32) -> Vec<u32> {
    (1..=u64::from(tokens)).map(|i| (i * 2_654_435_761 % u64::from(vocab_size)) as u32).collect()
}

/// The steps that `check` takes by default: half of the tokens at once, then the rest one by one.
pub fn halves(tokens: u32) -> Vec<u32> {
    let mut steps = vec![tokens / 2];
    steps.extend(std::iter::repeat_n(1, (tokens - tokens / 2) as usize));
    steps
}

/// Reads `ids` in the given steps, comparing everything on the way; `on_result` hears of each comparison as it is made.
/// The session is reset first, and holds all of `ids` afterwards.
///
/// # Errors
/// What the checkpoint or the device say. A difference is not an error: it is in the comparisons.
pub async fn check(
    session: &mut Session,
    checkpoint: &Checkpoint,
    ids: &[u32],
    steps: &[u32],
    on_result: &mut dyn FnMut(&Comparison),
) -> Result<()> {
    session.reset();
    let cooperative = session.engine().model().gpu().cooperative();
    let c = checkpoint.config.clone();
    if let Some(token) = ids.iter().find(|id| **id >= c.vocab_size) {
        return Err(Error::TokenOutOfRange { token: *token, vocab_size: c.vocab_size });
    }
    let mut states: Vec<LayerState> = (0..c.num_hidden_layers).map(|_| LayerState::new(&c)).collect();
    let mut from = 0;
    for tokens in steps {
        let to = (from + *tokens as usize).min(ids.len());
        if from < to {
            let tolerance = if cooperative { TOLERANCE_F16 } else { TOLERANCE };
            let mut judge = |c: &Comparison| on_result(&Comparison { tolerance, ..c.clone() });
            check_step(session, checkpoint, &ids[from..to], &mut states, &mut judge).await?;
        }
        from = to;
    }
    Ok(())
}

async fn check_step(
    session: &mut Session,
    checkpoint: &Checkpoint,
    ids: &[u32],
    states: &mut [LayerState],
    on_result: &mut dyn FnMut(&Comparison),
) -> Result<()> {
    let c = &checkpoint.config;
    let step = session.begin_step(ids, 1)?;
    let mut runner = Runner::new(session, step);

    let h: Vec<f32> = model::embeddings(checkpoint, ids).await?;
    runner.must_run("embed").await?;
    runner.compare("embed", None, &h, on_result).await?;

    for i in 0..c.num_hidden_layers {
        let layer = Layer::load(checkpoint, i).await?;
        // The twin goes on from the GPU's own residual stream, and from the keys and values that the GPU keeps.
        let input = runner.output("embed").await?;
        let mut found = Vec::new();
        for name in STAGES {
            if runner.run(name, Some(i)).await? {
                found.push((name, runner.read_rows(&runner.describe(name)).await?));
            }
        }
        let cache = runner.cache(i).await?;
        let model = runner.session.engine().model();
        let (kv, cooperative) = (model.kv().kv(), model.gpu().cooperative());
        let keep = |values: bool, at: usize, row: &mut [f32]| {
            kept(kv, c.head_dim, cooperative, cache[usize::from(values)].get(at..at + row.len()), row);
        };
        let state = &mut states[i as usize];
        let trace = layer.forward(c, &input, step.position, state, &keep);
        for (name, all) in found {
            runner.compare_rows(name, Some(i), &all, line(&trace, name), on_result);
        }
        runner.compare_states(i, &cache, state, on_result).await?;
    }

    let last = runner.output("embed").await?;
    let last = &last[last.len() - c.hidden_size as usize..];
    let norm = checkpoint.read_f32("model.final_layernorm.weight", &[c.hidden_size.into()]).await?;
    let expected = kernels::rmsnorm(last, &norm, c.rms_norm_eps);
    let input = if runner.run("final_layernorm", None).await? {
        runner.compare("final_layernorm", None, &expected, on_result).await?;
        runner.output("final_layernorm").await?
    } else {
        expected
    };
    let logits = model::lm_head(checkpoint, &input).await?;
    runner.must_run("lm_head").await?;
    runner.compare("lm_head", None, &logits, on_result).await?;
    session.end_step(&step);
    session.remember(ids);
    Ok(())
}

/// The stages of a layer in order, as `Model::record` names them. A plan has no dispatch for one that is fused into the next.
const STAGES: [&str; 11] = [
    "input_layernorm",
    "project_in",
    "prepare",
    "mixer",
    "attention",
    "ssm",
    "gated_norm",
    "project_out",
    "pre_ff_layernorm",
    "mlp_in",
    "mlp_out",
];

fn line<'a>(trace: &'a Trace, name: &str) -> &'a [f32] {
    match name {
        "input_layernorm" => &trace.input_layernorm,
        "project_in" => &trace.project_in,
        "prepare" => &trace.prepare,
        "mixer" | "attention" | "ssm" => &trace.mixer,
        "gated_norm" => &trace.gated_norm,
        "project_out" => &trace.project_out,
        "pre_ff_layernorm" => &trace.pre_ff_layernorm,
        "mlp_in" => &trace.mlp_in,
        _ => &trace.mlp_out,
    }
}

/// Runs the plan stage by stage.
pub(crate) struct Runner<'a> {
    session: &'a mut Session,
    step: Step,
    next: usize,
    many: bool,
}

/// A stage's output: its buffer, and the sections of a row that mean something.
struct Output<'a> {
    buffer: &'a wgpu::Buffer,
    rows: u32,
    stride: u32,
    sections: Vec<Section>,
    /// Whether the stage adds to what is there.
    adds: bool,
}

/// Values of one kind in a row: compared by themselves, since a small thing beside a large one could hide.
struct Section {
    name: &'static str,
    first: u32,
    /// Where it begins in the twin's row, which has no gaps.
    twin: u32,
    len: u32,
}

impl Output<'_> {
    /// The sections, laid one after the other.
    fn row(&mut self, sections: &[(&'static str, u32)]) {
        let mut first = 0;
        for (name, len) in sections {
            self.sections.push(Section { name, first, twin: first, len: *len });
            first += len;
        }
    }
}

impl<'a> Runner<'a> {
    /// Before the first dispatch of a step that has begun.
    pub(crate) fn new(session: &'a mut Session, step: Step) -> Self {
        Self { many: step.tokens > 1, session, step, next: 0 }
    }

    /// The step.
    pub(crate) fn step(&self) -> &Step {
        &self.step
    }

    /// The session that takes it.
    pub(crate) fn session(&self) -> &Session {
        self.session
    }

    /// Runs all that is left of a layer, or of what comes before it, and looks at nothing.
    pub(crate) fn run_layer(&mut self, layer: u32) {
        let plan = self.session.plan(self.many);
        let model = self.session.engine().model();
        let rest = &plan.dispatches()[self.next..];
        let count = rest.iter().take_while(|d| d.stage.layer.is_some_and(|l| l <= layer)).count();
        let mut encoder = model.gpu.device().create_command_encoder(&Default::default());
        plan.encode(&mut encoder, &self.step, Draw::Host, self.next..self.next + count, model.kv());
        model.gpu.queue().submit([encoder.finish()]);
        self.next += count;
    }

    fn describe(&self, name: &str) -> Output<'_> {
        let model = self.session.engine().model();
        let (c, s, b, t) = (&model.config, Strides::of(&model.config), &model.scratch, self.step.tokens);
        let (d, q, kv, ssm) = (c.hidden_size, c.q_dim(), c.kv_dim(), c.mamba_d_ssm);
        let (state, heads) = (c.mamba_n_groups * c.mamba_d_state, c.mamba_n_heads);
        let (buffer, rows, stride) = match name {
            "embed" | "project_out" | "mlp_out" => (&b.h, t, s.hidden),
            "input_layernorm" | "pre_ff_layernorm" => (&b.u, t, s.hidden),
            "project_in" => (&b.proj, t, s.proj),
            "prepare" => (&b.ready, t, s.ready),
            "mixer" | "attention" | "ssm" | "gated_norm" => (&b.mixed, t, s.mixed),
            "mlp_in" => (&b.ff, t, s.ff),
            "final_layernorm" => (&b.u, 1, s.hidden),
            _ => (&b.logits, 1, c.vocab_size),
        };
        let adds = matches!(name, "project_out" | "mlp_out" | "gated_norm");
        let mut output = Output { buffer, rows, stride, sections: Vec::new(), adds };
        match name {
            "project_in" => output.row(&[
                ("q", q),
                ("k", kv),
                ("v", kv),
                ("z", ssm),
                ("x", ssm),
                ("B", state),
                ("C", state),
                ("dt", heads),
            ]),
            "prepare" => output.row(&[
                ("q", q),
                ("x", ssm),
                ("B", state),
                ("C", state),
                ("delta", heads),
                ("exp(delta A)", heads),
            ]),
            "mixer" | "attention" | "ssm" | "gated_norm" => {
                if name != "ssm" {
                    output.sections.push(Section { name: "attention", first: 0, twin: 0, len: q });
                }
                if name != "attention" {
                    output.sections.push(Section { name: "SSM", first: s.ssm, twin: q, len: ssm });
                }
            }
            "mlp_in" => output.row(&[("", c.intermediate_size)]),
            "lm_head" => output.row(&[("", c.vocab_size)]),
            _ => output.row(&[("", d)]),
        }
        output
    }

    pub(crate) async fn must_run(&mut self, name: &'static str) -> Result<()> {
        self.expect(name, None).await
    }

    /// Runs a stage that every plan has.
    pub(crate) async fn expect(&mut self, name: &'static str, layer: Option<u32>) -> Result<()> {
        match self.run(name, layer).await? {
            true => Ok(()),
            false => Err(Error::Gpu { detail: format!("the plan has no {name} where the CPU twin has it") }),
        }
    }

    /// Poisons the stage's output and runs its dispatches (one a slab). False where the plan goes on with another stage.
    pub(crate) async fn run(&mut self, name: &'static str, layer: Option<u32>) -> Result<bool> {
        let stage = Stage { layer, name };
        let plan = self.session.plan(self.many);
        let count = plan.dispatches()[self.next..].iter().take_while(|d| d.stage == stage).count();
        if count == 0 {
            return Ok(false);
        }
        let output = self.describe(name);
        let model = self.session.engine().model();
        if !output.adds {
            for row in 0..output.rows {
                for section in &output.sections {
                    let poison = vec![f32::NAN; section.len as usize];
                    let at = 4 * (u64::from(row) * u64::from(output.stride) + u64::from(section.first));
                    model.gpu.write(output.buffer, at, bytemuck::cast_slice(&poison));
                }
            }
        }
        let plan = self.session.plan(self.many);
        let mut encoder = model.gpu.device().create_command_encoder(&Default::default());
        // Pieces of attention are put together in any case, to be compared; project_out puts two together once more.
        let seen =
            |d: &&Dispatch| d.is_needed(&self.step, Draw::Host) || (d.needed == Needed::Splits && self.step.splits > 1);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in plan.dispatches()[self.next..self.next + count].iter().filter(seen) {
            dispatch.encode(&mut pass, &self.step, model.kv());
        }
        drop(pass);
        model.gpu.queue().submit([encoder.finish()]);
        self.next += count;
        Ok(true)
    }

    /// Everything that the stage's output buffer holds, sections after each other, token by token.
    pub(crate) async fn output(&self, name: &str) -> Result<Vec<f32>> {
        let output = self.describe(name);
        let all = self.read_rows(&output).await?;
        let rows = all.chunks_exact(output.stride as usize);
        Ok(rows.flat_map(|row| output.sections.iter().flat_map(|s| cut(row, s.first, s.len))).copied().collect())
    }

    async fn read_rows(&self, output: &Output<'_>) -> Result<Vec<f32>> {
        let gpu = &self.session.engine().model().gpu;
        gpu.read(output.buffer, 0, u64::from(output.rows) * u64::from(output.stride)).await
    }

    /// Compares the stage's output with `expected`, whose rows have the same sections without gaps.
    async fn compare(
        &self,
        name: &'static str,
        layer: Option<u32>,
        expected: &[f32],
        on_result: &mut dyn FnMut(&Comparison),
    ) -> Result<()> {
        let all = self.read_rows(&self.describe(name)).await?;
        self.compare_rows(name, layer, &all, expected, on_result);
        Ok(())
    }

    /// The same for rows that have been read.
    fn compare_rows(
        &self,
        name: &'static str,
        layer: Option<u32>,
        all: &[f32],
        expected: &[f32],
        on_result: &mut dyn FnMut(&Comparison),
    ) {
        let output = self.describe(name);
        let width = expected.len() / output.rows as usize;
        for section in &output.sections {
            let found: Vec<f32> = all
                .chunks_exact(output.stride as usize)
                .flat_map(|row| cut(row, section.first, section.len))
                .copied()
                .collect();
            let expected: Vec<f32> =
                expected.chunks_exact(width).flat_map(|row| cut(row, section.twin, section.len)).copied().collect();
            let mut stage = Stage { layer, name }.to_string();
            if !section.name.is_empty() {
                stage += &format!(" ({})", section.name);
            }
            on_result(&Comparison::of(stage, output.rows, &found, &expected));
        }
    }

    /// Keys and values of a layer with those of this step.
    pub(crate) async fn cache(&self, layer: u32) -> Result<[Vec<f32>; 2]> {
        let gpu = &self.session.engine().model().gpu;
        let end = self.step.position + self.step.tokens;
        self.session.state().keys_and_values(gpu, layer as usize, 0, end).await
    }

    async fn compare_states(
        &self,
        layer: u32,
        [keys, values]: &[Vec<f32>; 2],
        expected: &LayerState,
        on_result: &mut dyn FnMut(&Comparison),
    ) -> Result<()> {
        let model = self.session.engine().model();
        let state = self.session.state();
        let ssm = &state.layers[layer as usize].ssm;
        let ssm = model.gpu.read(ssm, 0, expected.ssm.len() as u64).await?;
        for (name, found, expected) in
            [("keys", keys, &expected.keys), ("values", values, &expected.values), ("SSM state", &ssm, &expected.ssm)]
        {
            on_result(&Comparison::of(format!("layer {layer}, {name}"), self.step.tokens, found, expected));
        }
        let end = self.step.position + self.step.tokens;
        let found = state.conv_columns(&model.gpu, &model.config, layer as usize, end).await?;
        let stage = format!("layer {layer}, convolution state");
        on_result(&Comparison::of(stage, self.step.tokens, &found, &expected.conv));
        Ok(())
    }
}

fn cut(row: &[f32], first: u32, len: u32) -> &[f32] {
    &row[first as usize..(first + len) as usize]
}
