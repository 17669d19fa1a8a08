//! Cooperative matrices: whether an adapter has those that the kernels of
//! `shaders/*/*_cooperative.wgsl` are written for.

use crate::error::{Error, Result};

/// What the device must be asked for.
pub const FEATURES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);
/// Workgroup memory of the largest one, `attention_cooperative`: a tile, the scores, the shares and
/// eight words. (`matmul_cooperative` has two tiles and the sums: 36,864 bytes.)
pub const COOPERATIVE_WORKGROUP_BYTES: u32 = 64 * 34 * 8 + 64 * 18 * 16 + 64 * 18 * 8 + 8 * 4;
/// The kernels count on subgroups of this size.
const SUBGROUP: u32 = 32;

/// Whether the adapter multiplies tiles of 16 x 16 x 16 in f16 into f32, in subgroups of 32, with
/// enough workgroup memory.
///
/// # Errors
/// [`Error::NoGpu`] that says what is missing.
pub fn demand(adapter: &wgpu::Adapter) -> Result<()> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let refuse = |what: String| Err(Error::NoGpu { detail: format!("{}: cooperative matrices: {what}", info.name) });
    let missing = FEATURES - adapter.features();
    if !missing.is_empty() {
        return refuse(format!("the adapter has no {missing:?}"));
    }
    let fits = |p: &wgpu::CooperativeMatrixProperties| {
        (p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type) == (16, 16, 16, F16, F32)
    };
    let offered = adapter.cooperative_matrix_properties();
    if !offered.iter().any(fits) {
        return refuse(format!("16 x 16 x 16 of f16 with sums in f32 are needed, the adapter has {offered:?}"));
    }
    if (info.subgroup_min_size, info.subgroup_max_size) != (SUBGROUP, SUBGROUP) {
        return refuse(format!(
            "subgroups of {SUBGROUP} are needed, the adapter has {} to {}",
            info.subgroup_min_size, info.subgroup_max_size
        ));
    }
    let memory = adapter.limits().max_compute_workgroup_storage_size;
    if memory < COOPERATIVE_WORKGROUP_BYTES {
        return refuse(format!(
            "{COOPERATIVE_WORKGROUP_BYTES} bytes of workgroup memory are needed, the adapter has {memory}"
        ));
    }
    Ok(())
}

/// Leave to ask for a feature that wgpu calls experimental.
#[expect(unsafe_code, reason = "wgpu wants to hear that we know")]
pub fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: the kernels that use the feature are our own, compared with the CPU twin by
    // `peregrine check --cooperative`; the mode is off unless it is asked for.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
