//! stub
use crate::units::BasisPoints;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    Draining,
    Down,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    pub state: State,
    pub shed: BasisPoints,
}
#[derive(Debug)]
pub struct Overlay {
    c: Vec<Condition>,
}
impl Overlay {
    pub fn conditions(&self) -> &[Condition] {
        &self.c
    }
}
