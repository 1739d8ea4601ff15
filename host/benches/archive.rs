//! Archives a tree and prints the milliseconds it took: what `make bench` compares with `tar | zstd`.
//!
//!   archive TREE OBJECT

// A benchmark: a failed expectation is reported by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::time::Instant;

use bkhost::archive::{Compression, Control, Exclude, Format, PartOptions, Recipients, Source, write_part};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(tree), Some(object)) = (arguments.next(), arguments.next()) else {
        println!("usage: archive TREE OBJECT");
        return;
    };
    let start = Instant::now();
    let source = Source::Tree {
        name: String::new(),
        directory: File::open(tree).expect("the tree").into(),
        exclude: Exclude::new([] as [&str; 0]).expect("no patterns"),
        one_file_system: false,
    };
    let index = File::create(format!("{object}.index")).expect("the index");
    // BENCH_GZIP=1 and BENCH_AGE=age1… show what the other ways cost.
    let compression = match std::env::var_os("BENCH_GZIP") {
        Some(_) => Compression::Gzip { level: 6, threads: 0 },
        None => Compression::default(),
    };
    let recipients = std::env::var("BENCH_AGE").ok().map(|key| Recipients::keys([key]).expect("a recipient"));
    let format = Format { compression, recipients };
    let object = File::create(object).expect("the object");
    let summary = write_part(&[source], object, index, &PartOptions { format }, &Control::none()).expect("an archive");
    eprintln!("{} entries, {} bytes", summary.entries, summary.bytes);
    println!("{}", start.elapsed().as_millis());
}
