//! An operator's attributes by name. Absent ones are empty, and so are those of another type.

use tract_onnx::pb::{AttributeProto, NodeProto};

use super::tensor;

/// An operator's attributes.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a NodeProto);

impl<'a> Attributes<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn ints(&self, name: &str) -> &'a [i64] {
        self.get(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(crate) fn floats(&self, name: &str) -> &'a [f32] {
        self.get(name).map_or(&[], |attribute| &attribute.floats)
    }

    pub(crate) fn strings(&self, name: &str) -> &'a [Vec<u8>] {
        self.get(name).map_or(&[], |attribute| &attribute.strings)
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).map(|attribute| attribute.i)
    }

    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        self.get(name).map(|attribute| attribute.f)
    }

    pub(crate) fn string(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
    }

    /// The numbers of an attribute that is a tensor; none where it is absent.
    ///
    /// # Errors
    /// A sentence on a tensor that does not hold what it says, or no numbers.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Vec<f64>>, String> {
        self.get(name).and_then(|attribute| attribute.t.as_ref()).map(|found| tensor::numbers(found, name)).transpose()
    }

    /// The numbers of an attribute that comes as a list of floats or, in doubles, as a tensor named `…_as_tensor`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub(crate) fn doubles(&self, name: &str) -> Result<Vec<f64>, String> {
        let tensor = self.tensor(&format!("{name}_as_tensor"))?;
        Ok(tensor.unwrap_or_else(|| self.floats(name).iter().map(|&value| f64::from(value)).collect()))
    }
}

/// The start of a text from the file, for a sentence.
pub(crate) fn brief(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
