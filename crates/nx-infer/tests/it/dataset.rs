//! Data from files of every form, and what is said about those that are wrong.

use std::{fs, io::Write as _, path::Path};

use nx_infer::{
    DType, Manifest, Tensor,
    dataset::{Source, Wanted, read},
    manifest::{Before, Input, Output},
    onnx::Dim,
    process::Image,
    search::{Metric, Reading, Sample},
};

fn manifest(shape: &[Dim], before: Vec<Before>, labels: &[&str]) -> Manifest {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Manifest {
        name: "m".to_owned(),
        description: String::new(),
        licence: "MIT".to_owned(),
        hash: None,
        inputs: vec![Input {
            name: "x".to_owned(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            layout: None,
            unit: None,
            range: None,
            before,
        }],
        outputs: vec![Output {
            name: "y".to_owned(),
            dtype: DType::F32,
            shape: vec!["n".into(), 2.into()],
            unit: None,
            labels,
            after: Vec::new(),
        }],
        states: Vec::new(),
        lineage: None,
    }
}

fn four() -> Manifest {
    manifest(&["n".into(), 4.into()], Vec::new(), &["cat", "dog"])
}

fn all(manifest: &Manifest, source: &str, truths: bool) -> Result<Vec<Sample>, String> {
    // a picture's format for this test: its pixels, two in a row
    let decode = |bytes: &[u8]| {
        if bytes.len() % 2 == 1 {
            return Err("it has an odd number of bytes".to_owned());
        }
        Image::new(2, bytes.len() / 2, 1, bytes.to_vec()).map_err(|error| error.to_string())
    };
    let metric = Metric::Class { output: 0 };
    let wanted = Wanted::new(manifest, &metric, truths, &decode);
    read(&[source.parse::<Source>()?], &wanted).map_err(|error| error.to_string())
}

fn sample(values: &[f32], class: Option<usize>) -> Sample {
    let tensor = Tensor::new([1, values.len()], values.to_vec()).unwrap();
    Sample { inputs: vec![("x".to_owned(), tensor)], truth: class.map(Reading::Class) }
}

fn file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// An array as `NumPy` writes it.
fn npy(kind: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(head.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, head.as_bytes(), content].concat()
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in arrays {
        archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_table_is_read() {
    let root = tempfile::tempdir().unwrap();
    let text = b"a,b,label,c,d\n1,2,cat,3,4\n5,6,1,7,8.5\n";
    let path = file(root.path(), "t.csv", text);
    let wanted = vec![sample(&[1.0, 2.0, 3.0, 4.0], Some(0)), sample(&[5.0, 6.0, 7.0, 8.5], Some(1))];
    assert_eq!(all(&four(), &path, true).unwrap(), wanted);
    assert_eq!(all(&four(), &format!("{path}@1.."), true).unwrap(), wanted[1..]);
    assert_eq!(all(&four(), &path, false).unwrap()[0].truth, None);
    let told = |text: &str| all(&four(), &file(root.path(), "w.csv", text.as_bytes()), true).unwrap_err();
    assert!(told("a,b,c,d\n1,2,3,4\n").contains("no column of labels"));
    assert!(told("a,b,c,d,y\n1,2,x,4,cat\n").contains("`x` in column `c` of row 2"));
    assert!(told("a,b,c,d,y\n1,2,3,4,bird\n").contains("the model's classes are cat, dog"));
    assert!(told("a,b,c,y\n1,2,3,cat\n").contains("samples of [3] for input `x`, which takes [n, 4]"));
    assert!(told("a,b,c,d,y\n").contains("has no sample"));
    assert!(all(&four(), &format!("{path}@9.."), true).unwrap_err().contains("no sample from 9 on"));
}

#[test]
fn numpy_is_read() {
    let root = tempfile::tempdir().unwrap();
    let x = npy("<f4", "(2, 4)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
    let y = npy("<i8", "(2,)", &[1_i64.to_le_bytes(), 0_i64.to_le_bytes()].concat());
    let path = file(root.path(), "d.npz", &npz(&[("x", x.clone()), ("y", y.clone())]));
    let wanted = vec![sample(&[1.0, 2.0, 3.0, 4.0], Some(1)), sample(&[5.0, 6.0, 7.0, 8.0], Some(0))];
    assert_eq!(all(&four(), &path, true).unwrap(), wanted);
    let named = file(root.path(), "n.npz", &npz(&[("features", x.clone()), ("labels", y.clone())]));
    assert_eq!(all(&four(), &named, true).unwrap(), wanted);
    let alone = file(root.path(), "x.npy", &x);
    assert_eq!(
        all(&four(), &alone, false).unwrap(),
        [sample(&[1.0, 2.0, 3.0, 4.0], None), sample(&[5.0, 6.0, 7.0, 8.0], None)]
    );
    assert!(all(&four(), &alone, true).unwrap_err().contains("np.savez"));
    let told = |arrays: &[(&str, Vec<u8>)]| all(&four(), &file(root.path(), "w.npz", &npz(arrays)), true).unwrap_err();
    assert!(told(&[("x", x.clone())]).contains("no array of labels"));
    assert!(told(&[("a", x.clone()), ("b", x.clone()), ("y", y.clone())]).contains("no array `x`"));
    assert!(told(&[("x", x.clone()), ("y", npy("<i8", "(1,)", &[0; 8]))]).contains("different lengths"));
    assert!(told(&[("x", x[..x.len() - 1].to_vec()), ("y", y.clone())]).contains("too short"));
    assert!(told(&[("x", npy("<c8", "(1, 4)", &[0; 32])), ("y", y)]).contains("elements of `c8`"));
    let broken = file(root.path(), "b.npz", b"PK not a zip");
    assert!(all(&four(), &broken, true).unwrap_err().contains("no .npz that can be read"));
    let fortran = String::from_utf8_lossy(&x).replace("False", "True ");
    assert!(!fortran.is_empty());
}

#[test]
fn lines_are_read() {
    let root = tempfile::tempdir().unwrap();
    let text = "{\"x\": [1, 2, 3, 4], \"label\": \"dog\"}\n\n{\"inputs\": {\"x\": {\"tensor\": [5, 6, 7, 8], \"shape\": [1, 4]}}, \"label\": 0}\n";
    let path = file(root.path(), "d.jsonl", text.as_bytes());
    assert_eq!(
        all(&four(), &path, true).unwrap(),
        [sample(&[1.0, 2.0, 3.0, 4.0], Some(1)), sample(&[5.0, 6.0, 7.0, 8.0], Some(0))]
    );
    let told = |text: &str| all(&four(), &file(root.path(), "w.jsonl", text.as_bytes()), true).unwrap_err();
    assert!(told("{\"x\": [1, 2, 3, 4]}").contains("line 1: there is no `label`"));
    assert!(
        told("\n{\"x\": [[1, 2], [3]], \"label\": 0}").contains("line 2: input `x` has lists of different lengths")
    );
    assert!(told("{\"z\": [1], \"label\": 0}").contains("no input `x`"));
    assert!(told("{\"x\": [1, \"2\", 3, 4], \"label\": 0}").contains("holds \"2\", which is no number"));
    assert!(told("nothing").contains("line 1:"));
}

#[test]
fn pictures_by_class_and_idx_are_read() {
    let root = tempfile::tempdir().unwrap();
    let steps = vec![Before::Scale { by: 0.5 }];
    let manifest = manifest(&["n".into(), 1.into(), 1.into(), 2.into()], steps, &["cat", "dog"]);
    let wanted = |values: [f32; 2], class| {
        let tensor = Tensor::new([1, 1, 1, 2], values.to_vec()).unwrap();
        Sample { inputs: vec![("x".to_owned(), tensor)], truth: Some(Reading::Class(class)) }
    };
    file(root.path(), "animals/cat/1.png", &[2, 4]);
    file(root.path(), "animals/dog/1.png", &[6, 8]);
    file(root.path(), "animals/.hidden", &[]);
    let animals = root.path().join("animals").display().to_string();
    assert_eq!(all(&manifest, &animals, true).unwrap(), [wanted([1.0, 2.0], 0), wanted([3.0, 4.0], 1)]);
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[2, 4, 6, 8]].concat();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&images).unwrap();
    file(root.path(), "mnist/t10k-images-idx3-ubyte.gz", &zipped.finish().unwrap());
    let mnist = root.path().join("mnist").display().to_string();
    assert!(all(&manifest, &mnist, true).unwrap_err().contains("no labels beside it; `t10k-labels-idx1-ubyte.gz`"));
    file(root.path(), "mnist/t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]);
    assert_eq!(all(&manifest, &mnist, true).unwrap(), [wanted([1.0, 2.0], 0), wanted([3.0, 4.0], 1)]);
    file(root.path(), "mnist/train-images-idx3-ubyte", &images);
    assert!(all(&manifest, &mnist, true).unwrap_err().contains("several files of images; name one"));
    let short = file(root.path(), "w/images-idx3-ubyte", &images[..18]);
    assert!(all(&manifest, &short, false).unwrap_err().contains("too short"));

    file(root.path(), "animals/cat/2.png", &[1, 2, 3]);
    assert!(all(&manifest, &animals, true).unwrap_err().contains("is no picture: it has an odd number of bytes"));
    file(root.path(), "animals/bird/1.png", &[1, 2]);
    assert!(all(&manifest, &animals, true).unwrap_err().contains("label `bird`"));
    file(root.path(), "loose/1.png", &[1, 2]);
    let loose = root.path().join("loose").display().to_string();
    assert!(all(&manifest, &loose, true).unwrap_err().contains("lies in no folder of a class"));
    assert_eq!(all(&manifest, &loose, false).unwrap().len(), 1);
    assert!(all(&four(), &loose, false).unwrap_err().contains("takes numbers; give the model a manifest"));
}
