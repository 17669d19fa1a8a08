//! A GPU that is lost in the middle of an answer.

use std::rc::Rc;

use peregrine::Error;
use peregrine::session::Engine;

use crate::common::MOST_LOSSES;
use crate::failure::{Failure, Outcome};
use crate::terminal::note;

/// The model once more by `reload`, after so many losses in a row, this one included. The memory of
/// the lost one is wanted: nothing may hold it any more.
pub fn load_again(losses: u32, lost: &Error, reload: &dyn Fn(u32) -> Outcome<Rc<Engine>>) -> Outcome<Rc<Engine>> {
    if losses > MOST_LOSSES {
        return Err(Failure::run(lost.to_string()));
    }
    note("the GPU was lost; the model is loaded again, and the answer begins anew");
    reload(losses).map_err(|failure| {
        Failure::run(format!("the GPU was lost, and the model cannot be loaded again: {}", failure.message()))
    })
}
