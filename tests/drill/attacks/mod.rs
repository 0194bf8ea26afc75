//! How each attack is played.

pub(crate) mod accusations;
pub(crate) mod floods;
pub(crate) mod leaders;
pub(crate) mod lies;
pub(crate) mod silence;
pub(crate) mod witnesses;
