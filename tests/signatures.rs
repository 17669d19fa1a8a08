//! What Rust declares of each kernel, compared with every composed source: names, types and order
//! of bindings, sizes, override constants. Without a GPU.

use std::collections::{HashMap, HashSet};

use naga::{AddressSpace, ArraySize, Handle, Module, StorageAccess, Type, TypeInner};
use peregrine::kernels::{Constant, KERNELS, Signature, Space};
use peregrine::ops::all_signatures;

use crate::shaders::all;

/// A type as WGSL writes it.
fn written(module: &Module, ty: Handle<Type>) -> String {
    let scalar = |scalar: naga::Scalar| {
        let kind = match scalar.kind {
            naga::ScalarKind::Float => "f",
            naga::ScalarKind::Uint => "u",
            naga::ScalarKind::Sint => "i",
            other => panic!("{other:?}"),
        };
        format!("{kind}{}", 8 * scalar.width)
    };
    let ty = &module.types[ty];
    match &ty.inner {
        TypeInner::Scalar(s) => scalar(*s),
        TypeInner::Atomic(s) => format!("atomic<{}>", scalar(*s)),
        TypeInner::Vector { size, scalar: s } => format!("vec{}<{}>", *size as u8, scalar(*s)),
        TypeInner::Array { base, size: ArraySize::Constant(n), .. } => {
            format!("array<{}, {n}>", written(module, *base))
        }
        TypeInner::Struct { .. } => ty.name.clone().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A binding: group, number, name, what is done with it, element, and the element's bytes.
type Found = (u32, u32, String, Space, String, u32);

fn bindings(module: &Module) -> Vec<Found> {
    let bound = module.global_variables.iter().filter_map(|(_, v)| Some((v, v.binding?)));
    let mut found: Vec<Found> = bound
        .map(|(variable, at)| {
            let space = match variable.space {
                AddressSpace::Uniform => Space::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Space::Write,
                AddressSpace::Storage { .. } => Space::Read,
                other => panic!("{other:?}"),
            };
            let (ty, size) = match &module.types[variable.ty].inner {
                TypeInner::Array { base, size: ArraySize::Dynamic, stride } => (*base, *stride),
                inner => (variable.ty, inner.size(module.to_ctx())),
            };
            (at.group, at.binding, variable.name.clone().unwrap(), space, written(module, ty), size)
        })
        .collect();
    found.sort_by_key(|found| (found.0, found.1));
    found
}

/// Says the first thing in which a signature differs from a source. `unmet`: constants that no
/// source has had yet.
fn compare(signature: &Signature, module: &Module, unmet: &mut Vec<&'static str>) -> Result<(), String> {
    let (own, cache): (Vec<_>, Vec<_>) = bindings(module).into_iter().partition(|found| found.0 == 0);
    let declared = (0..).zip(&signature.bindings);
    let declared: Vec<_> =
        declared.map(|(i, b)| (0, i, b.name.to_string(), b.space, b.element.clone(), b.size)).collect();
    if own != declared {
        return Err(format!("bindings are {own:?}, declared {declared:?}"));
    }
    let cache: Vec<_> = cache.iter().map(|found| (found.2.as_str(), found.3)).collect();
    let declared: Vec<_> = signature.cache.iter().map(|space| ("kv", *space)).collect();
    if cache != declared {
        return Err(format!("group 1 is {cache:?}, declared {declared:?}"));
    }
    for (_, constant) in module.overrides.iter() {
        // What is computed from others has no name.
        let Some(name) = constant.name.clone() else { continue };
        let declared = signature.constants.iter().find(|c| c.name == name);
        let scalar = written(module, constant.ty);
        match declared {
            None if constant.init.is_none() => {
                return Err(format!("{name} is not declared, and has no value of its own"));
            }
            Some(Constant { optional: true, .. }) if constant.init.is_none() && !may_need(signature, &name) => {
                return Err(format!("{name} may be left out, and has no value of its own"));
            }
            Some(declared) if declared.scalar != scalar => {
                return Err(format!("{name} is {scalar}, declared {}", declared.scalar));
            }
            _ => unmet.retain(|unmet| *unmet != name),
        }
    }
    let missing = signature.constants.iter().find(|declared| {
        !declared.optional && !module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(declared.name))
    });
    missing.map_or(Ok(()), |missing| Err(format!("no override is called {}", missing.name)))
}

/// The one constant that only a variant has, and needs there: blocks of keys and values in 8 bits.
fn may_need(signature: &Signature, name: &str) -> bool {
    name == "KV_FOURS" && signature.cache.is_some()
}

#[test]
fn every_source_is_what_rust_declares() {
    let signatures = all_signatures();
    assert_eq!(signatures.len(), KERNELS.len());
    let mut unmet: HashMap<&str, Vec<&str>> = HashMap::new();
    for signature in &signatures {
        let names: Vec<_> = signature.constants.iter().map(|constant| constant.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a constant twice: {names:?}");
        assert!(unmet.insert(signature.kernel.name, names).is_none(), "{} twice", signature.kernel.name);
    }
    for (kernel, reduction, module) in all() {
        let signature = signatures.iter().find(|s| s.kernel == kernel).expect(kernel.name);
        compare(signature, &module, unmet.get_mut(kernel.name).unwrap())
            .unwrap_or_else(|e| panic!("{}, {reduction:?}: {e}", kernel.name));
    }
    for (kernel, unmet) in unmet {
        assert!(unmet.is_empty(), "{kernel}: no variant has {unmet:?}");
    }
}

#[test]
fn a_declaration_that_differs_is_named() {
    let wrong = |change: fn(&mut Signature)| {
        let mut signature = all_signatures().into_iter().find(|s| s.kernel.name == "attention_tile").unwrap();
        let (_, _, module) = all().find(|(k, _, _)| k.name == "attention_tile").unwrap();
        compare(&signature, &module, &mut Vec::new()).unwrap();
        change(&mut signature);
        compare(&signature, &module, &mut Vec::new()).unwrap_err()
    };
    assert!(wrong(|s| s.bindings.swap(1, 3)).starts_with("bindings"));
    assert!(wrong(|s| s.bindings[1].name = "proj").starts_with("bindings"));
    assert!(wrong(|s| s.bindings[1].size = 16).starts_with("bindings"));
    assert!(wrong(|s| s.bindings[3].space = Space::Read).starts_with("bindings"));
    assert!(wrong(|s| s.cache = None).starts_with("group 1"));
    assert_eq!(wrong(|s| s.constants[2].name = "HEAD"), "HEADS is not declared, and has no value of its own");
    assert_eq!(wrong(|s| s.constants[2].scalar = "f32"), "HEADS is u32, declared f32");
    let more = |s: &mut Signature| s.constants.push(Constant { name: "MORE", scalar: "u32", optional: false });
    assert_eq!(wrong(more), "no override is called MORE");
}
