//! Recurrent operators: what tract leaves out of account is refused, since it would make other numbers of the same file.

use tract_onnx::pb::NodeProto;

use crate::model::graph::attributes::Attributes;

/// Says what a recurrent operator asks for that is not done.
pub(super) fn check(node: &NodeProto) -> Result<(), String> {
    let usual: &[&str] = match node.op_type.as_str() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        "RNN" => &["Tanh"],
        _ => return Ok(()),
    };
    let attributes = Attributes(node);
    if attributes.string("direction").is_some_and(|direction| direction.eq_ignore_ascii_case("reverse")) {
        return Err("runs backwards".to_owned());
    }
    // In both directions they are said twice.
    let functions = attributes.strings("activations").iter().zip(usual.iter().cycle());
    if let Some((other, _)) =
        functions.clone().find(|(function, usual)| !function.eq_ignore_ascii_case(usual.as_bytes()))
    {
        return Err(format!(
            "has the activation {}",
            crate::model::graph::attributes::brief(&String::from_utf8_lossy(other))
        ));
    }
    if attributes.get("clip").is_some() {
        return Err("clips its sums".to_owned());
    }
    if attributes.int("input_forget").is_some_and(|coupled| coupled != 0) {
        return Err("couples its input and forget gates".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::AttributeProto;

    use super::*;

    fn said(operator: &str, attribute: AttributeProto) -> Result<(), String> {
        check(&NodeProto { op_type: operator.to_owned(), attribute: vec![attribute], ..Default::default() })
    }

    fn named(name: &str) -> AttributeProto {
        AttributeProto { name: name.to_owned(), ..Default::default() }
    }

    #[test]
    fn what_is_not_done_is_refused_and_what_is_usual_is_not() {
        let direction = |way: &str| AttributeProto { s: way.as_bytes().to_vec(), ..named("direction") };
        let activations = |names: &[&str]| {
            let strings = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            AttributeProto { strings, ..named("activations") }
        };
        let usual = ["Sigmoid", "Tanh", "Tanh", "sigmoid", "tanh", "tanh"];
        for attribute in [direction("bidirectional"), activations(&usual), activations(&[])] {
            assert_eq!(said("LSTM", attribute), Ok(()));
        }
        let refused = [
            ("LSTM", direction("reverse"), "backwards"),
            ("RNN", activations(&["Relu"]), "the activation Relu"),
            ("GRU", activations(&["Sigmoid", "Tanh", "HardSigmoid", "Tanh"]), "the activation HardSigmoid"),
            ("LSTM", AttributeProto { f: 3.0, ..named("clip") }, "clips"),
            ("LSTM", AttributeProto { i: 1, ..named("input_forget") }, "couples"),
        ];
        for (operator, attribute, sentence) in refused {
            let found = said(operator, attribute);
            assert!(found.as_ref().is_err_and(|found| found.contains(sentence)), "{found:?}");
        }
        assert_eq!(said("Conv", AttributeProto { f: 3.0, ..named("clip") }), Ok(()), "no recurrent operator");
    }
}
