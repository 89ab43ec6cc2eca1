//! Reading, looking at and writing graphs.

use expect_test::expect;
use nx_infer::onnx::{
    Limits, Model,
    graph::{self, Index},
};

use crate::tiny;

#[test]
fn what_is_written_is_read_again() {
    for model in [tiny::cnn(), tiny::counter(), tiny::whole()] {
        let again = Model::read(model.write(), &Limits::default()).unwrap();
        assert_eq!(again, model);
        assert_eq!(again.write(), model.write());
    }
}

#[test]
fn a_model_says_what_it_takes_and_gives() {
    let model = tiny::cnn();
    expect![[r#"
        [
            Value {
                name: "image",
                dtype: F32,
                shape: Some(
                    [
                        Named(
                            "batch",
                        ),
                        Fixed(
                            1,
                        ),
                        Fixed(
                            8,
                        ),
                        Fixed(
                            8,
                        ),
                    ],
                ),
            },
        ]
    "#]]
    .assert_debug_eq(&model.inputs().unwrap());
    assert_eq!(model.opset(""), Some(17));
    assert_eq!(model.opset("com.microsoft"), None);
    expect![[r#"{"BatchNormalization": 1, "Conv": 1, "Flatten": 1, "Gemm": 1, "MaxPool": 1, "Relu": 1}"#]]
        .assert_eq(&format!("{:?}", model.operators()));
}

#[test]
fn nodes_are_put_in_an_order_that_runs() {
    let (_, mut graph) = tiny::cnn().into_parts();
    graph.node.reverse();
    let order = graph::order(&graph.node).unwrap();
    let names: Vec<_> = order.iter().map(|&at| graph.node[at].op_type.clone().unwrap()).collect();
    assert_eq!(names, ["Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten", "Gemm"]);
    let index = Index::of(&graph);
    assert_eq!(index.producer("relu"), Some(3));
    assert_eq!(index.readers("relu"), [2]);
    assert_eq!(index.initializer("conv.weight"), Some(0));
    assert_eq!(index.producer("image"), None);
}
