//! The report as its readers get it: files, words, and the page in a browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use rescore_report::{REPORT_FILES, ReportOptions, report};

/// A run folder with evaluations every 100 steps up to `to`, and a log.
fn run(folder: &Path, name: &str, (algo, task, seed): (&str, &str, u32), to: u32, more: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).expect("writable");
    let write = |file: &str, text: String| std::fs::write(path.join(file), text).expect("writable");
    write(
        "config.toml",
        format!(
            "algo = \"{algo}\"\nenv = \"{task}\"\nseed = {seed}\nsteps = 500\n{more}[training]\n\
             warmup_steps = 50\nnum_envs = 1\ncount_warmup = true\n"
        ),
    );
    let scale = if algo == "dpmd" { 9.0 } else { 6.0 };
    let rows = (1..=to / 100).map(|i| {
        let mean = scale * f64::from(i) + f64::from((seed * 7 + i * 3) % 5);
        format!("{},1,{mean},0,{mean}\n", 100 * i)
    });
    let header = "step,episodes,mean_return,std_return,return_0\n";
    write("eval.csv", header.to_owned() + &rows.collect::<String>());
    let lines = (1..=to / 50).map(|i| {
        format!(
            "{{\"step\":{},\"wall_time_s\":{}.5,\"q_std_within\":0.{i},\"episode_return\":{i}}}\n",
            50 * i,
            3 * i
        )
    });
    write("metrics.jsonl", lines.collect());
}

fn runs(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .collect();
    found.sort();
    found
}

/// Two algorithms on two tasks, one seed short and one missing.
fn example(folder: &Path) -> Vec<PathBuf> {
    for seed in 0..3 {
        run(
            folder,
            &format!("a{seed}"),
            ("dpmd", "Ant-v4", seed),
            500,
            "",
        );
        run(
            folder,
            &format!("b{seed}"),
            ("sac", "Ant-v4", seed),
            500 - 100 * (seed / 2),
            "",
        );
        run(
            folder,
            &format!("c{seed}"),
            ("dpmd", "Hopper-v4", seed),
            500,
            "",
        );
    }
    run(folder, "d0", ("sac", "Hopper-v4", 0), 500, "");
    runs(folder)
}

fn references(folder: &Path) -> PathBuf {
    let file = folder.join("values.csv");
    let rows = "task,method,steps,update_to_data,protocol,seeds,mean,std,verified,source\n\
                Ant-v4,random,100,,final,1,0,,true,here\n\
                Ant-v4,SAC,1000000,1,final,10,40,3,true,there\n\
                Hopper-v4,random,100,,final,1,0,,true,here\n\
                Hopper-v4,SAC,1000000,1,final,10,50,,true,there\n\
                Hopper-v4,Other,1000000,1,best,,99,,false,hearsay\n";
    std::fs::write(&file, rows).expect("writable");
    file
}

fn made(out: &Path, runs: &[PathBuf], references: Vec<PathBuf>) -> (Vec<String>, [String; 3]) {
    let options = ReportOptions {
        references,
        ..ReportOptions::default()
    };
    let notes = report(runs, out, &options).expect("a report");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("readable");
    (notes, REPORT_FILES.map(read))
}

#[test]
fn what_is_missing_is_said_and_the_same_runs_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = folder.path().join("runs");
    let found = example(&of);
    let reference = vec![references(folder.path())];
    let out = folder.path().join("report");
    let (notes, first) = made(&out, &found, reference.clone());
    let (_, again) = made(&out, &found, reference);
    assert_eq!(first, again);
    for expected in [
        "sac on Ant-v4: seed 2 has come to step 400 of 500",
        "sac on Hopper-v4 lacks seed 1, 2, which others have there",
        "sac has one seed on Hopper-v4: no interval there",
    ] {
        assert!(
            notes.iter().any(|note| note == expected),
            "{expected}: {notes:#?}"
        );
        assert!(
            first.iter().take(2).all(|text| text.contains(expected)),
            "{expected}"
        );
    }
    let [page, words, returns] = first;
    assert_eq!(returns.lines().count(), 5);
    assert!(words.contains("| Ant-v4 | dpmd | 3 | 500 |"), "{words}");
    assert!(
        words.contains("## Over tasks") && words.contains("| dpmd | sac |"),
        "{words}"
    );
    assert!(
        page.contains("unverified: hearsay"),
        "unverified values are shown as such"
    );
    assert!(
        !page.contains("http://") || page.matches("http://").count() == 1,
        "no network"
    );
    assert!(
        !page.contains("src=") && !page.contains("@import"),
        "no other file"
    );
}

#[test]
fn runs_of_other_settings_and_lengths_are_kept_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = folder.path().join("runs");
    run(&of, "a", ("dpmd", "Ant-v4", 0), 500, "");
    run(
        &of,
        "b",
        ("dpmd", "Ant-v4", 0),
        500,
        "[agent]\nnoise = 0.1\n",
    );
    run(&of, "c", ("sac", "Ant-v4", 0), 300, "");
    let text = std::fs::read_to_string(of.join("c/config.toml")).expect("readable");
    let longer = text.replace("steps = 500", "steps = 300");
    std::fs::write(of.join("c/config.toml"), longer).expect("writable");
    let (notes, [_, words, _]) = made(&folder.path().join("report"), &runs(&of), Vec::new());
    assert!(words.contains("dpmd (noise=0.1)"), "{words}");
    assert!(
        notes
            .iter()
            .any(|note| note.contains("300 steps, others there are not")),
        "{notes:?}"
    );
    assert!(
        !words.contains("## Over tasks"),
        "scores need reference values"
    );
}

#[test]
fn what_cannot_be_reported_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = folder.path().join("runs");
    let options = ReportOptions::default();
    run(&of, "a", ("dpmd", "Ant-v4", 0), 500, "");
    run(&of, "b", ("dpmd", "Ant-v4", 0), 400, "");
    let out = folder.path().join("report");
    let error = report(&runs(&of), &out, &options).expect_err("the same seed twice");
    assert!(error.to_string().contains("the same seed, 0"), "{error}");
    run(&of, "b", ("sac", "Ant-v4", 0), 0, "");
    let error = report(&[of.join("b")], &out, &options).expect_err("no evaluation");
    assert!(error.to_string().contains("has an evaluation"), "{error}");
    assert!(!out.exists());
    std::fs::write(
        of.join("a/eval.csv"),
        "step,episodes,mean_return,std_return,return_0\n100,1,x,0,x\n",
    )
    .expect("writable");
    let error = report(&[of.join("a")], &out, &options).expect_err("a damaged file");
    assert!(error.to_string().contains("eval.csv"), "{error}");
    let error = report(&[of.join("b")], folder.path(), &options).expect_err("somebody's folder");
    assert!(error.to_string().contains("no file of a report"), "{error}");
}

/// Names of runs and settings cannot end the script or become elements.
#[test]
fn names_are_text_in_the_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = folder.path().join("runs");
    run(&of, "a", ("</script><b>x", "Ant-v4", 0), 500, "");
    let (_, [page, ..]) = made(&folder.path().join("report"), &runs(&of), Vec::new());
    assert_eq!(
        page.matches("</script>").count(),
        2,
        "those of the page itself"
    );
    assert!(page.contains("&lt;/script&gt;&lt;b&gt;x"));
}

/// A browser, by the names that distributions give it.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// Appends a script to the page and gives the title that it sets.
fn title_after(browser: &str, page: &Path, width: u32, script: &str) -> String {
    let text = std::fs::read_to_string(page).expect("readable");
    let tested = page.with_file_name("tested.html");
    let text = text.replace("</body>", &format!("<script>{script}</script></body>"));
    std::fs::write(&tested, text).expect("writable");
    let profile = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--window-size={width},900"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", tested.display()))
        .output()
        .expect("the browser runs");
    std::fs::remove_file(&tested).expect("removable");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let title = dom
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    title.map_or(dom.clone(), |(title, _)| title.to_owned())
}

/// Curves are drawn, hide and show by their buttons, and tell their numbers under the pointer; the page
/// fits the width of a phone. Two hundred runs are drawn as well as one.
#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else {
        let line = "the report in a browser: no chromium is installed";
        eprintln!("{line}");
        if let Some(file) = std::env::var_os("RESCORE_SKIPPED") {
            use std::io::Write as _;
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(file);
            let _ = file.and_then(|mut file| writeln!(file, "{line}"));
        }
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "
        const paths = () => document.querySelectorAll('#curves path').length;
        const before = paths();
        const button = document.querySelector('#legend button');
        button.click();
        const hidden = paths();
        button.click();
        const shown = paths();
        const svg = document.querySelector('#curves svg');
        const box = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width / 2}));
        const tip = document.querySelector('#curves .tip');
        document.title = JSON.stringify({
          before, hidden, shown, tip: tip.hidden ? '' : tip.textContent,
          charts: document.querySelectorAll('.chart svg').length,
          overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        });";
    let of = folder.path().join("runs");
    let found = example(&of);
    let out = folder.path().join("report");
    let _ = made(&out, &found, vec![references(folder.path())]);
    for width in [1280, 390] {
        let title = title_after(browser, &out.join("index.html"), width, script);
        let seen: serde_json::Value = serde_json::from_str(&title).expect(&title);
        let number = |key: &str| seen[key].as_i64().expect(key);
        assert!(number("hidden") < number("before"), "{title}");
        assert_eq!(number("shown"), number("before"), "{title}");
        // Two curves, a profile, and two metrics on two tasks.
        assert_eq!(number("charts"), 2 + 1 + 4, "{title}");
        assert!(number("overflow") <= 0, "wider than {width}: {title}");
        let tip = seen["tip"].as_str().expect("text");
        assert!(
            tip.contains("dpmd:") && tip.contains("environment steps"),
            "{title}"
        );
    }
    // One run, and two hundred.
    for (count, name) in [(1, "one"), (200, "many")] {
        let of = folder.path().join(name);
        for i in 0..count {
            let settings = format!("[agent]\nnoise = 0.{:02}\n", i % 20 + 1);
            run(
                &of,
                &format!("r{i:03}"),
                ("dpmd", "Ant-v4", i / 20),
                500,
                &settings,
            );
        }
        let out = folder.path().join(format!("report-{name}"));
        let _ = made(&out, &runs(&of), Vec::new());
        let title = title_after(browser, &out.join("index.html"), 1280, script);
        let seen: serde_json::Value = serde_json::from_str(&title).expect(&title);
        assert!(
            seen["before"].as_i64() > seen["hidden"].as_i64(),
            "{count} runs: {title}"
        );
        assert_eq!(
            seen["overflow"].as_i64().map(|x| x <= 0),
            Some(true),
            "{title}"
        );
    }
}
