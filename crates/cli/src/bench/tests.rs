use super::*;

#[test]
fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
    // Halves and whole numbers are exact, so the text is too.
    let medians = [median(&[1.0, 2.0, 4.0, 100.0]), median(&[1.0, 2.0, 100.0])];
    assert_eq!(medians.map(|ms| ms.to_string()), ["3", "2"]);
}

fn measured() -> Measurement {
    Measurement {
        bench: "chain",
        variant: "fused-f32",
        algo: "dpmd".into(),
        backend: "flex".into(),
        task: "HalfCheetah-v4".into(),
        rows: 8192,
        particles: Some(32),
        precision: "f32",
        threads: 2,
        cpu: "a processor".into(),
        ms: 200.0,
        ms_min: 199.0,
        ms_max: 201.0,
        repetitions: 5,
        gflops: Some(200.0),
        matmul_gflops: 200.0,
        peak_gflops: Some(250.0),
        parts: Vec::new(),
        device: None,
        peak_memory_mb: None,
    }
}

#[test]
fn a_result_says_its_share_of_both_yardsticks() {
    let line = measured().line();
    assert!(
        line.contains("100 % of the product, 80 % of the peak"),
        "{line}"
    );
}

/// What `--json` writes is what `--against` reads, and only like is compared with like.
#[test]
fn results_are_compared_with_those_of_the_same_thing() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("other.json");
    let other = Measurement {
        variant: "other",
        ms: 500.0,
        ..measured()
    };
    let smaller = Measurement {
        rows: 4096,
        ..measured()
    };
    write(&path, &[other, smaller])?;
    let others = Other::read(&path)?;
    let ratios: Vec<_> = others
        .iter()
        .map(|other| other.ratio(&measured()))
        .collect();
    let first = ratios[0].as_deref().unwrap_or_default();
    assert!(
        first.ends_with("other takes 500.00 ms, 2.50 times as long"),
        "{first}"
    );
    assert_eq!(ratios[1], None);

    std::fs::write(&path, "{\"ms\": 1}")?;
    let error = Other::read(&path).expect_err("an object is no array");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("other.json"), "{error}");
    Ok(())
}
