//! Files whose tensors are made large by many operators, that take long, or that hide what is large in branches, loops and
//! stored tensors.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto};

use super::files::{Case, VALUES, WORK, constant, constants, file, graph, node, nodes, summed};

pub(crate) fn large_by_many() -> Vec<Case> {
    let chain = |first: &str, count: usize, line: &dyn Fn(&str, &str) -> String| {
        let lines: Vec<String> = (0..count)
            .map(|level| {
                let before = if level == 0 { first.to_owned() } else { format!("t{level}") };
                line(&before, &if level + 1 == count { "big".to_owned() } else { format!("t{}", level + 1) })
            })
            .collect();
        lines.join(";")
    };
    let doubled = |before: &str, after: &str| format!("Concat {before} {before} > {after} | axis=1");
    // Each of another size, or tract takes them for one.
    let shapes =
        |count: usize, least: usize| -> String { (0..count).map(|at| format!("shape{at}={} ", least + at)).collect() };
    let many = |count: usize| {
        let lines: Vec<String> =
            (0..count).map(|at| format!("ConstantOfShape shape{at} > c{at}; ReduceSum c{at} > s{at}")).collect();
        let sums: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
        format!("{}; Sum {} > big", lines.join(";"), sums.join(" "))
    };
    vec![
        ("36 doublings", Some(VALUES), summed(13, &chain("x", 36, &doubled), "")),
        ("36 doublings of a constant", Some(VALUES), summed(13, &chain("c", 36, &doubled), "c#1x6")),
        ("16 doublings", None, summed(13, &chain("x", 16, &doubled), "")),
        (
            "outer sums",
            Some(VALUES),
            summed(
                13,
                "Unsqueeze x one > a; Unsqueeze x two > b; Add a b > c; Unsqueeze c three > d; Unsqueeze c none > e; Add d e > f; Unsqueeze f four > g; Unsqueeze f five > h; Add g h > i; Tile i times > big",
                "one=1 two=2 three=3 none=0 four=4 five=0 times=16,16,16,16,16",
            ),
        ),
        (
            "a tensor times itself, again and again",
            Some(VALUES),
            summed(
                13,
                &format!(
                    "Transpose x > c; MatMul c x > t; {}",
                    chain("t", 6, &|before, after| format!(
                        "Reshape {before} flat > f{after}; Reshape {before} tall > g{after}; MatMul g{after} f{after} > {after}"
                    ))
                ),
                "flat=1,-1 tall=-1,1",
            ),
        ),
        ("many large constants", Some(VALUES), summed(13, &many(64), &shapes(64, 40_000_000))),
        ("many constants that could be folded", Some(VALUES), summed(13, &many(70), &shapes(70, 1_000_000))),
        (
            "a thousand operators",
            None,
            summed(13, &chain("x", 1_000, &|before, after| format!("Relu {before} > {after}")), ""),
        ),
        (
            "too many operators",
            Some("and may have 5000"),
            summed(13, &chain("x", 5_001, &|before, after| format!("Relu {before} > {after}")), ""),
        ),
    ]
}

/// A support vector machine that is asked for rows times over.
fn machine(rows: i64, vectors: usize) -> Vec<u8> {
    let lines = "Expand x shape > e; SVMRegressor e > big; ReduceSum big > total | keepdims=0; Add x total > y";
    let mut node = nodes(lines);
    let floats = |name: &str, count: usize| AttributeProto {
        name: name.to_owned(),
        r#type: 6,
        floats: vec![0.5; count],
        ..Default::default()
    };
    node[1].attribute = vec![
        floats("support_vectors", vectors * 6),
        floats("coefficients", vectors),
        floats("rho", 1),
        AttributeProto { name: "n_supports".to_owned(), r#type: 2, i: vectors as i64, ..Default::default() },
    ];
    file(13, graph(&["x"], node, "y", constants(&format!("shape={rows},6"))))
}

pub(crate) fn long_work() -> Vec<Case> {
    vec![
        (
            "a product of matrices",
            Some(WORK),
            summed(13, "ReduceSum x > o | keepdims=0; Expand o square > a; MatMul a a > big", "square=4500,4500"),
        ),
        (
            "a product of constant matrices",
            Some(WORK),
            summed(13, "ConstantOfShape square > a; MatMul a a > big", "square=4500,4500"),
        ),
        ("Gemm", Some(WORK), summed(13, "ConstantOfShape square > a; Gemm a a > big", "square=4500,4500")),
        (
            "an Einsum of all with all",
            Some(VALUES),
            summed(13, "Expand x shape > a; Einsum a a a > big | equation=ab,cd,ef->abcdef", "shape=1000,6"),
        ),
        (
            "very many samples of very many classes",
            Some(WORK),
            summed(
                13,
                "Expand x shape > e; Reshape e line > f; Multinomial f > big | sample_size=1000000",
                "shape=1000000,6 line=1,-1",
            ),
        ),
        ("a machine of many vectors for many rows", Some(WORK), machine(1_000_000, 40_000)),
        ("a machine of many vectors", None, machine(1, 40_000)),
        (
            "a convolution with a large kernel",
            Some(VALUES),
            summed(
                13,
                "Expand x shape > image; ConstantOfShape ks > k; Cast k > w | to=1; Conv image w > big | pads=[0,0,0,0]",
                "shape=1,1,1000000,6 ks=1,1,500000,6",
            ),
        ),
        (
            "a wide window at every place",
            Some(WORK),
            summed(
                13,
                "Expand x shape > e; Reshape e line > image; MaxPool image > big | kernel_shape=[1000000]",
                "shape=1000000,6 line=1,1,6000000",
            ),
        ),
        (
            "a long recurrence",
            Some(WORK),
            summed(
                13,
                "Unsqueeze x axes > u; Expand u steps > s; ConstantOfShape ws > wd; Cast wd > w | to=1; ConstantOfShape rs > rd; Cast rd > r | to=1; LSTM s w r > _ big | hidden_size=256",
                "axes=0 steps=4000000,1,6 ws=1,1024,6 rs=1,1024,256",
            ),
        ),
    ]
}

pub(crate) fn of_graphs() -> Vec<Case> {
    let with = |line: &str, name: &str, inner: GraphProto, more: &str| {
        let mut node = node(&format!("{line} {more}"));
        node.attribute.push(AttributeProto { name: name.to_owned(), r#type: 5, g: Some(inner), ..Default::default() });
        node
    };
    let tail = || nodes("ReduceSum big > total | keepdims=0; Add x total > y");
    let around =
        |first: Vec<NodeProto>, stored: &str| file(13, graph(&["x"], [first, tail()].concat(), "y", constants(stored)));
    let inner = |lines: &str, stored: &str| graph(&[], nodes(lines), "o", constants(stored));
    let choice = |yes: GraphProto, no: GraphProto, condition: &str| {
        let mut choice = with("If c > big |", "then_branch", yes, "");
        choice.attribute.push(AttributeProto {
            name: "else_branch".to_owned(),
            r#type: 5,
            g: Some(no),
            ..Default::default()
        });
        let first = nodes(condition);
        around([first, vec![choice]].concat(), "nought~:0")
    };
    let by_input = "ReduceSum x > r | keepdims=0; Greater r nought > c";
    let huge = || inner("Tile x times > h; ReduceMax h > m | keepdims=0; Add x m > o", "times=1048576,1048576");
    let small = || inner("Identity x > o", "");
    let body = |lines: &str| graph(&["state", "item"], nodes(lines), "out", Vec::new());
    let scan = |lines: &str, items: &str, stored: &str| {
        let node = with("Scan x items > big |", "body", body(lines), "num_scan_inputs=1");
        around([nodes(items), vec![node]].concat(), stored)
    };
    let looped =
        with("Loop count _ x > big |", "body", graph(&["i", "c", "v"], nodes("Identity v > o"), "o", Vec::new()), "");
    let nested = |depth: usize| {
        let level = |inside: GraphProto, _: usize| {
            let mut node = with("If c > o |", "then_branch", inside.clone(), "");
            node.attribute.push(AttributeProto {
                name: "else_branch".to_owned(),
                r#type: 5,
                g: Some(inside),
                ..Default::default()
            });
            graph(&[], vec![node], "o", Vec::new())
        };
        (1..depth).fold(small(), level)
    };
    vec![
        ("branches in each other", None, choice(nested(4), nested(4), by_input)),
        ("branches deep in each other", Some("more than 4 deep"), choice(nested(9), nested(9), by_input)),
        ("If", Some(VALUES), choice(huge(), small(), by_input)),
        ("If, the other way", Some(VALUES), choice(small(), huge(), by_input)),
        ("If, with huge stored tensors", Some("another size in its shape"), {
            let mut bad = small();
            bad.initializer.push(TensorProto {
                name: "z".to_owned(),
                data_type: DataType::Float as i32,
                dims: vec![1 << 40],
                ..Default::default()
            });
            choice(bad, small(), by_input)
        }),
        ("Loop", Some("the operator Loop is not supported"), around(vec![looped], "count=:1099511627776")),
        ("Scan", None, scan("Add state item > out", "Expand x shape > items", "shape=10,1,6")),
        ("a long Scan", Some(VALUES), scan("Add state item > out", "Expand x shape > items", "shape=17179869184,1,6")),
        (
            "a Scan of nothing, very often",
            Some(VALUES),
            scan("Identity state > out", "ConstantOfShape shape > items", "shape=1099511627776,0"),
        ),
        (
            "a Scan with work in it",
            Some(WORK),
            scan(
                "Expand item w > e; Transpose e > t; MatMul e t > m; ReduceSum m > r | keepdims=0; Add state r > out",
                "Expand x shape > items",
                "shape=1000000,1,6 w=2000,6",
            ),
        ),
    ]
}

pub(crate) fn of_stored_tensors() -> Vec<Case> {
    let claimed = |dims: &[i64], raw: usize| TensorProto {
        name: "c".to_owned(),
        data_type: DataType::Float as i32,
        dims: dims.to_vec(),
        raw_data: vec![0; raw],
        ..Default::default()
    };
    let with = |tensor: TensorProto| file(13, graph(&["x"], nodes("Add x c > y"), "y", vec![tensor]));
    let by_node = |tensor: TensorProto| {
        let mut constant = node("Constant > c");
        constant.attribute.push(AttributeProto {
            name: "value".to_owned(),
            r#type: 4,
            t: Some(tensor),
            ..Default::default()
        });
        file(13, graph(&["x"], [vec![constant], nodes("Add x c > y")].concat(), "y", Vec::new()))
    };
    let of_shape = |tensor: TensorProto| {
        let mut constant = node("ConstantOfShape shape > big");
        constant.attribute.push(AttributeProto {
            name: "value".to_owned(),
            r#type: 4,
            t: Some(tensor),
            ..Default::default()
        });
        file(
            13,
            graph(
                &["x"],
                [vec![constant], nodes("ReduceSum big > total | keepdims=0; Add x total > y")].concat(),
                "y",
                constants("shape=6"),
            ),
        )
    };
    let size = Some("another size in its shape");
    let mut sparse = graph(&["x"], nodes("Add x c > y"), "y", Vec::new());
    sparse.sparse_initializer.push(SparseTensorProto {
        values: Some(claimed(&[1], 4)),
        indices: Some(constant("i=0")),
        dims: vec![1 << 40],
    });
    let mut unknown = claimed(&[1 << 40], 0);
    unknown.data_type = DataType::Bfloat16 as i32;
    vec![
        ("a stored tensor without its values", size, with(claimed(&[1 << 40], 0))),
        ("a stored tensor with few of them", size, with(claimed(&[1 << 40], 24))),
        ("a stored tensor of a kind that is not known", Some("Unknown DatumType"), with(unknown)),
        ("a Constant without its values", size, by_node(claimed(&[1 << 20, 1 << 20], 0))),
        ("a Constant with few of them", size, by_node(claimed(&[1 << 40], 24))),
        ("a ConstantOfShape of very many", size, of_shape(claimed(&[1 << 40], 4))),
        ("a sparse tensor", Some("Could not resolve inputs"), file(13, sparse)),
    ]
}
