//! Kernels by type: a struct whose fields are the override constants and the bindings of a kernel,
//! under their names in WGSL. A test compares the declarations with every composed source, so a
//! constant that is renamed or a buffer that moves does not compile or is named there.

use peregrine_shaders::{Kernel, Reduction};

/// A kernel with its constants and buffers.
pub trait Typed {
    /// Which one.
    const KERNEL: &'static Kernel;
    /// Its override constants alone, as a device reads them that has the kernel in Rust.
    type Numbers;
    /// The override constants, by name.
    fn constants(&self) -> Vec<(&'static str, f64)>;
    /// Bind group 0, in the order of the bindings.
    fn buffers(&self) -> Vec<Bound>;
    /// Bytes of weights that it reads.
    fn weight_bytes(&self) -> u64;
    /// The layer whose keys and values are bind group 1.
    fn layer(&self) -> Option<usize>;
    /// How it sums over lanes where the device would sum in this way.
    fn reduction(device: Reduction) -> Reduction;
    /// What is declared.
    fn signature() -> Signature;
}

/// A binding: a buffer, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// All of it, or where the part lies.
    pub buffer: wgpu::Buffer,
    /// Its first byte, a multiple of 256, and how many.
    pub range: Option<(u64, std::num::NonZeroU64)>,
}

impl From<&wgpu::Buffer> for Bound {
    fn from(buffer: &wgpu::Buffer) -> Self {
        Self { buffer: buffer.clone(), range: None }
    }
}

impl From<&Self> for Bound {
    fn from(bound: &Self) -> Self {
        bound.clone()
    }
}

impl Bound {
    /// As a bind group takes it.
    pub fn resource(&self) -> wgpu::BindingResource<'_> {
        match self.range {
            None => self.buffer.as_entire_binding(),
            Some((offset, size)) => {
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset, size: Some(size) })
            }
        }
    }
}

/// What Rust declares of a kernel.
#[derive(Debug)]
pub struct Signature {
    /// Which one.
    pub kernel: &'static Kernel,
    /// In any order.
    pub constants: Vec<Constant>,
    /// Bind group 0, in order.
    pub bindings: Vec<Binding>,
    /// How it uses keys and values, bind group 1.
    pub cache: Option<Space>,
}

/// An override constant.
#[derive(Debug)]
pub struct Constant {
    /// As in WGSL.
    pub name: &'static str,
    /// `u32` or `f32`.
    pub scalar: &'static str,
    /// May be left out, where WGSL has a value for it or the variant has no such constant.
    pub optional: bool,
}

/// A buffer.
#[derive(Debug)]
pub struct Binding {
    /// As in WGSL.
    pub name: &'static str,
    /// What the kernel does with it.
    pub space: Space,
    /// The WGSL type: of a uniform, or of an element of a storage buffer.
    pub element: String,
    /// Its bytes.
    pub size: u32,
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Reads a uniform.
    Uniform,
    /// Reads storage.
    Read,
    /// Writes storage, and may read it.
    Write,
}

/// A type that WGSL has, too.
pub trait Wgsl {
    /// Its name there.
    fn name() -> String;
    /// Bytes.
    const SIZE: u32 = 4;
}

/// A Rust type, and its name in WGSL.
macro_rules! wgsl {
    ($($type:ty: $name:expr;)*) => {
        $(impl $crate::kernels::Wgsl for $type {
            fn name() -> String {
                $name.to_string()
            }
            const SIZE: u32 = size_of::<$type>() as u32;
        })*
    };
}
pub(crate) use wgsl;

/// `atomic<u32>` or `atomic<i32>`
#[repr(C)]
pub struct Atomic<T = u32>(T);

wgsl! {
    u32: "u32";
    f32: "f32";
    [f32; 2]: "vec2<f32>";
    [f32; 4]: "vec4<f32>";
    [u32; 4]: "vec4<u32>";
    [i32; 4]: "vec4<i32>";
    [[f32; 4]; 64]: "array<vec4<f32>, 64>";
    Atomic: "atomic<u32>";
    Atomic<i32>: "atomic<i32>";
}

/// What an override constant is set to.
pub trait Value {
    /// `u32` or `f32`.
    const SCALAR: &'static str;
    /// Whether it may be left out.
    const OPTIONAL: bool = false;
    /// `None` leaves it out.
    fn value(&self) -> Option<f64>;
    /// The other way round; `None` where it must not be left out.
    fn of(value: Option<f64>) -> Option<Self>
    where
        Self: Sized;
}

/// Override constants that were given by name, as a type.
pub trait Given<'a>: Sized {
    /// Reads them.
    ///
    /// # Errors
    /// The name of the first that is missing.
    fn given(by_name: &'a dyn Fn(&str) -> Option<f64>) -> Result<Self, &'static str>;
}

/// A group that may be missing as a whole.
impl<'a, T: Given<'a>> Given<'a> for Option<T> {
    fn given(by_name: &'a dyn Fn(&str) -> Option<f64>) -> Result<Self, &'static str> {
        Ok(T::given(by_name).ok())
    }
}

/// Reads one.
///
/// # Errors
/// Its name, where it is missing.
pub fn given<T: Value>(by_name: &dyn Fn(&str) -> Option<f64>, name: &'static str) -> Result<T, &'static str> {
    T::of(by_name(name)).ok_or(name)
}

impl Value for u32 {
    const SCALAR: &'static str = "u32";
    fn value(&self) -> Option<f64> {
        Some((*self).into())
    }
    fn of(value: Option<f64>) -> Option<Self> {
        value.map(|value| value as Self)
    }
}

impl Value for f32 {
    const SCALAR: &'static str = "f32";
    fn value(&self) -> Option<f64> {
        Some((*self).into())
    }
    fn of(value: Option<f64>) -> Option<Self> {
        value.map(|value| value as Self)
    }
}

/// 0 or 1.
impl Value for bool {
    const SCALAR: &'static str = "u32";
    fn value(&self) -> Option<f64> {
        Some(u8::from(*self).into())
    }
    fn of(value: Option<f64>) -> Option<Self> {
        value.map(|value| value != 0.0)
    }
}

impl<T: Value> Value for Option<T> {
    const SCALAR: &'static str = T::SCALAR;
    const OPTIONAL: bool = true;
    fn value(&self) -> Option<f64> {
        self.as_ref().and_then(Value::value)
    }
    fn of(value: Option<f64>) -> Option<Self> {
        Some(T::of(value))
    }
}

/// Override constants that several kernels have, or that belong together.
pub trait Constants {
    /// Adds them.
    fn push(&self, constants: &mut Vec<(&'static str, f64)>);
    /// Says what there may be.
    fn declare(constants: &mut Vec<Constant>);
}

impl<T: Constants> Constants for Option<T> {
    fn push(&self, constants: &mut Vec<(&'static str, f64)>) {
        if let Some(group) = self {
            group.push(constants);
        }
    }

    fn declare(constants: &mut Vec<Constant>) {
        let first = constants.len();
        T::declare(constants);
        constants[first..].iter_mut().for_each(|constant| constant.optional = true);
    }
}

/// Adds one.
pub fn push<T: Value>(constants: &mut Vec<(&'static str, f64)>, name: &'static str, value: &T) {
    constants.extend(value.value().map(|value| (name, value)));
}

/// Declares one; the accessor only says its type.
pub fn declare<S, T: Value>(constants: &mut Vec<Constant>, name: &'static str, _: fn(&S) -> &T) {
    constants.push(Constant { name, scalar: T::SCALAR, optional: T::OPTIONAL });
}

/// A struct of override constants: [`Constants`].
macro_rules! constants {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $constant:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        #[allow(non_snake_case, reason = "the names of WGSL")]
        pub struct $name {
            $($(#[$doc])* pub $constant: $type,)*
        }

        impl<'a> $crate::kernels::Given<'a> for $name {
            fn given(by_name: &'a dyn Fn(&str) -> Option<f64>) -> Result<Self, &'static str> {
                Ok(Self { $($constant: $crate::kernels::given(by_name, stringify!($constant))?,)* })
            }
        }

        impl $crate::kernels::Constants for $name {
            fn push(&self, constants: &mut Vec<(&'static str, f64)>) {
                $($crate::kernels::push(constants, stringify!($constant), &self.$constant);)*
            }

            fn declare(constants: &mut Vec<$crate::kernels::Constant>) {
                $($crate::kernels::declare::<Self, $type>(constants, stringify!($constant), |s| &s.$constant);)*
            }
        }
    };
}
pub(crate) use constants;

/// A kernel's struct: `Name = SOURCE { constants; groups of constants } cache (bindings)`. A
/// binding is `uniform`, `read`, `write`, or
/// `weights`, which is read as a whole; `read_part` and `write_part` may be parts of buffers; with
/// `through workgroup` it never sums by subgroups; with `cache read` or `cache write` the field
/// `kv` is the layer whose keys and values are group 1.
macro_rules! kernel {
    (
        $(#[$meta:meta])*
        $name:ident = $source:ident $(through $sums:ident)? {
            $($constant:ident: $type:ty),* $(,)?
            $(; $($group:ident: $group_type:ty),* $(,)?)?
        }
        $(cache $cache:ident)?
        ($($binding:ident: $space:ident $element:ty),* $(,)?)
    ) => {
        $(#[$meta])*
        #[allow(non_snake_case, missing_docs, reason = "the names of WGSL; what they are stands there")]
        pub struct $name<'a> {
            $(pub $constant: $type,)*
            $($(pub $group: $group_type,)*)?
            $(pub kv: $crate::kernels::kernel!(@layer $cache),)?
            $(pub $binding: &'a $crate::kernels::kernel!(@field $space),)*
        }

        const _: () = {
        #[derive(Clone, Copy)]
        #[allow(non_snake_case, missing_docs, reason = "the names of WGSL; what they are stands there")]
        pub struct Numbers {
            $(pub $constant: $type,)*
            $($(pub $group: $group_type,)*)?
        }

        // Where the groups can be read.
        impl<'a> $crate::kernels::Given<'a> for Numbers
        where
            $($($group_type: $crate::kernels::Given<'a>,)*)?
        {
            fn given(by_name: &'a dyn Fn(&str) -> Option<f64>) -> Result<Self, &'static str> {
                Ok(Self {
                    $($constant: $crate::kernels::given(by_name, stringify!($constant))?,)*
                    $($($group: <$group_type as $crate::kernels::Given<'a>>::given(by_name)?,)*)?
                })
            }
        }

        impl $crate::kernels::Typed for $name<'_> {
            const KERNEL: &'static peregrine_shaders::Kernel = &peregrine_shaders::$source;
            type Numbers = Numbers;

            fn constants(&self) -> Vec<(&'static str, f64)> {
                #[allow(unused_mut, reason = "a kernel may have none")]
                let mut constants = Vec::new();
                $($crate::kernels::push(&mut constants, stringify!($constant), &self.$constant);)*
                $($($crate::kernels::Constants::push(&self.$group, &mut constants);)*)?
                constants
            }

            fn buffers(&self) -> Vec<$crate::kernels::Bound> {
                vec![$($crate::kernels::Bound::from(self.$binding)),*]
            }

            fn weight_bytes(&self) -> u64 {
                0 $(+ $crate::kernels::kernel!(@bytes $space self.$binding))*
            }

            fn layer(&self) -> Option<usize> {
                $crate::kernels::kernel!(@kv self $($cache)?)
            }

            fn reduction(device: peregrine_shaders::Reduction) -> peregrine_shaders::Reduction {
                $crate::kernels::kernel!(@sums device $($sums)?)
            }

            fn signature() -> $crate::kernels::Signature {
                #[allow(unused_mut, reason = "a kernel may have none")]
                let mut constants = Vec::new();
                $($crate::kernels::declare::<Self, $type>(&mut constants, stringify!($constant), |s| &s.$constant);)*
                $($(<$group_type as $crate::kernels::Constants>::declare(&mut constants);)*)?
                let bindings = vec![$($crate::kernels::Binding {
                    name: stringify!($binding),
                    space: $crate::kernels::kernel!(@space $space),
                    element: <$element as $crate::kernels::Wgsl>::name(),
                    size: <$element as $crate::kernels::Wgsl>::SIZE,
                }),*];
                let cache = $crate::kernels::kernel!(@cache $($cache)?);
                $crate::kernels::Signature { kernel: Self::KERNEL, constants, bindings, cache }
            }
        }
        };
    };
    (@sums $device:ident) => { $device };
    (@sums $device:ident workgroup) => {{
        let _ = $device;
        peregrine_shaders::Reduction::Workgroup
    }};
    (@layer $cache:ident) => { usize };
    (@kv $self:ident $cache:ident) => { Some($self.kv) };
    (@kv $self:ident) => { None };
    (@cache $cache:ident) => { Some($crate::kernels::kernel!(@space $cache)) };
    (@cache) => { None };
    (@bytes weights $buffer:expr) => { $buffer.size() };
    (@bytes $space:ident $buffer:expr) => { 0 };
    (@field read_part) => { $crate::kernels::Bound };
    (@field write_part) => { $crate::kernels::Bound };
    (@field $space:ident) => { wgpu::Buffer };
    (@space uniform) => { $crate::kernels::Space::Uniform };
    (@space read) => { $crate::kernels::Space::Read };
    (@space weights) => { $crate::kernels::Space::Read };
    (@space write) => { $crate::kernels::Space::Write };
    (@space read_part) => { $crate::kernels::Space::Read };
    (@space write_part) => { $crate::kernels::Space::Write };
}
pub(crate) use kernel;

/// The kernels of a module, each as [`kernel`] takes it, and `signatures`: what is declared of
/// them.
macro_rules! kernels {
    ($(
        $(#[$meta:meta])*
        $name:ident = $source:ident $(through $sums:ident)? { $($constants:tt)* }
        $(cache $cache:ident)?
        ($($bindings:tt)*)
    )+) => {
        $($crate::kernels::kernel! {
            $(#[$meta])*
            $name = $source $(through $sums)? { $($constants)* }
            $(cache $cache)?
            ($($bindings)*)
        })+

        pub(crate) fn signatures() -> Vec<$crate::kernels::Signature> {
            vec![$(<$name<'_> as $crate::kernels::Typed>::signature()),+]
        }
    };
}
pub(crate) use kernels;
