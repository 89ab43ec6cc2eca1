//! Files that are wrong: each is refused by its own error, within bounds.

use bytes::Bytes;
use nx_infer::{
    DType, Error, Tensor,
    onnx::{
        Builder, Limits, Model,
        graph::Attribute,
        proto::{AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto},
    },
};
use nx_types::ErrorCode as _;
use proptest::prelude::*;
use prost::Message as _;

use crate::tiny;

fn proto() -> ModelProto {
    ModelProto::decode(Bytes::from(tiny::cnn().write())).unwrap()
}

fn refused(change: impl FnOnce(&mut ModelProto)) -> String {
    let mut proto = proto();
    change(&mut proto);
    let error = Model::read(proto.encode_to_vec(), &Limits::default()).unwrap_err();
    format!("{} {error}", error.code())
}

fn graph(proto: &mut ModelProto) -> &mut GraphProto {
    proto.graph.as_mut().unwrap()
}

#[track_caller]
fn check(change: impl FnOnce(&mut ModelProto), expected: &str) {
    let found = refused(change);
    assert!(found.contains(expected), "{found}\n  does not say\n{expected}");
}

#[test]
fn what_is_not_well_formed_is_named() {
    check(|p| p.graph = None, "NX-INF-0001 the model is not well formed: file: it holds no graph");
    check(|p| p.opset_import.clear(), "imports no operator set");
    check(
        |p| graph(p).initializer.remove(0).encoded_len().clone_into(&mut 0),
        "reads `conv.weight`, which is no input",
    );
    check(|p| graph(p).node[0].op_type = None, "names no operator");
    check(|p| graph(p).node[1].output[0] = "conv".to_owned(), "produces `conv`, which something else already is");
    check(|p| graph(p).output[0].name = Some("nothing".to_owned()), "nothing produces output `nothing`");
    check(|p| graph(p).input[0].name = None, "an input has no name");
    check(
        |p| {
            let twice = graph(p).initializer[0].clone();
            graph(p).initializer.push(twice);
        },
        "initialiser `conv.weight` is there twice",
    );
}

#[test]
fn cycles_are_found() {
    check(|p| graph(p).node[0].input[0] = "logits".to_owned(), "waits for itself: there is a cycle");
    check(|p| graph(p).node[2].input[0] = "relu".to_owned(), "waits for itself: there is a cycle");
}

#[test]
fn a_tensor_holds_what_its_shape_says() {
    let tensor = |p: &mut ModelProto, change: fn(&mut TensorProto)| change(&mut graph(p).initializer[0]);
    check(|p| tensor(p, |t| t.dims = vec![4, 1, 3, 4]), "asks for 192 of data, it holds 144");
    check(|p| tensor(p, |t| t.dims = vec![-4, 1, 3, 3]), "dimension -4 is negative");
    check(|p| tensor(p, |t| t.dims = vec![i64::MAX, 2]), "NX-INF-0002 elements of tensor `conv.weight`");
    check(|p| tensor(p, |t| t.dims = vec![0, i64::MAX]), "NX-INF-0002 elements of tensor `conv.weight`");
    check(|p| tensor(p, |t| t.data_type = Some(99)), "its element type 99 is not one of ONNX");
    check(
        |p| tensor(p, |t| t.float_data = vec![1.0]),
        "`float_data` does not go with its element type 1 or with other data",
    );
    check(|p| tensor(p, |t| t.raw_data = None), "asks for 36 of data, it holds 0");
    check(
        |p| tensor(p, |t| t.data_location = Some(1)),
        "NX-INF-0003 external data of tensor `conv.weight`: it lies beside",
    );
}

#[test]
fn graphs_nest_only_so_deep() {
    let mut inner = GraphProto::default();
    for _ in 0..12 {
        let attribute = AttributeProto { g: Some(Box::new(inner)), ..AttributeProto::default() };
        let node = NodeProto { op_type: Some("If".to_owned()), attribute: vec![attribute], ..NodeProto::default() };
        inner = GraphProto { node: vec![node], ..GraphProto::default() };
    }
    check(|p| graph(p).node.extend(inner.node), "NX-INF-0002 graphs within graphs");
}

#[test]
fn limits_hold() {
    let bytes = tiny::cnn().write();
    for limits in [
        Limits { file_bytes: 100, ..Limits::default() },
        Limits { decoded_bytes: 1000, ..Limits::default() },
        Limits { nodes: 3, ..Limits::default() },
        Limits { elements: 100, ..Limits::default() },
    ] {
        let error = Model::read(bytes.clone(), &limits).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    }
}

fn external(location: &str, offset: &str, length: &str) -> ModelProto {
    let mut proto = proto();
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
    let tensor = &mut graph(&mut proto).initializer[0];
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    tensor.external_data = vec![entry("location", location), entry("offset", offset), entry("length", length)];
    proto
}

#[test]
fn external_data_stays_in_its_directory() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("model");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(outer.path().join("secret"), [0_u8; 200]).unwrap();
    std::fs::write(directory.join("weights"), [0_u8; 200]).unwrap();
    std::os::unix::fs::symlink(outer.path().join("secret"), directory.join("link")).unwrap();
    let path = directory.join("model.onnx");
    let read = |proto: ModelProto, limits: &Limits| {
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
        Model::read_file(&path, limits).map_err(|error| error.to_string())
    };
    let limits = Limits::default();
    let secret = outer.path().join("secret");
    for (location, offset, length, says) in [
        ("../secret", "0", "144", "does not stay in the model's own directory"),
        (secret.to_str().unwrap(), "0", "144", "does not stay in the model's own directory"),
        ("link", "0", "144", "is no file in the model's own directory"),
        ("", "0", "144", "does not stay"),
        (".", "0", "144", "is no file"),
        ("nothing", "0", "144", "cannot be read"),
        ("weights", "100", "144", "it asks for bytes 100 to 100 + 144 of a file of 200"),
        ("weights", "18446744073709551615", "144", "it asks for bytes"),
        ("weights", "x", "144", "`offset` is no number"),
        ("weights", "0", "100", "asks for 144 of data, it holds 100"),
    ] {
        let error = read(external(location, offset, length), &limits).unwrap_err();
        assert!(error.contains(says), "{location}: {error}");
    }
    let model = read(external("weights", "8", "144"), &limits).unwrap();
    // it is one file from then on
    assert_eq!(Model::read(model.write(), &limits).unwrap(), model);
    let small = Limits { external_bytes: 100, ..limits };
    assert!(read(external("weights", "8", "144"), &small).unwrap_err().contains("bytes of external data"));
}

#[test]
fn what_is_no_model_at_all() {
    for bytes in [&b""[..], b"{\"json\": true}", b"PK\x03\x04", &[0xff; 64], b"\x08\x07"] {
        assert!(Model::read(bytes.to_vec(), &Limits::default()).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_inner_graph_sees_the_outer_names_and_no_others() {
    let branch = |reads: &str| {
        let mut build = Builder::new("branch", 17);
        let name = format!("branch.{reads}");
        let value = build.node("Neg", &name, &[reads], &[]);
        build.output(&value, DType::F32, &[1.into()]);
        Attribute::Graph(build.graph())
    };
    let model = |reads: &str| {
        let mut build = Builder::new("if", 17);
        let x = build.input("x", DType::F32, &[1.into()]);
        let yes = build.constant("yes", &Tensor::scalar(vec![true]).unwrap());
        let y = build.node("If", "y", &[&yes], &[("then_branch", branch(&x)), ("else_branch", branch(reads))]);
        build.output(&y, DType::F32, &[1.into()]);
        build.finish()
    };
    assert!(model("nowhere").unwrap_err().to_string().contains("reads `nowhere`"));
    let model = model("x").unwrap();
    assert_eq!(model.operators().get("Neg"), Some(&2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_change_of_bytes_is_worse_than_an_error(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
        let mut bytes = tiny::cnn().write();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut.index(4) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(model) = Model::read(bytes, &Limits::default()) {
            // what was read can be written and read again
            prop_assert_eq!(Model::read(model.write(), &Limits::default()).unwrap().write(), model.write());
        }
    }
}
