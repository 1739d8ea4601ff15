//! Applications that programs of the machine bring to rest: services (real init scripts with a real daemon; systemctl is a
//! stand-in, because systemd does not run where the tests do), and an operator's own commands.

use std::path::PathBuf;
use std::time::Duration;

use bkhost_tests::{Bkhost, Outcome, directory_part, tool, until};
use rustix::process::Signal;

use crate::crash::{guard_of, kill};

/// An init script as the Linux Standard Base has it, and a daemon that appends numbers to a file in the home.
pub(crate) const SCRIPT: &str = r#"
here=$(dirname "$0"); name=$(basename "$0"); pid=$here/$name.pid
echo "$1 $name" >>"$here/actions"
status() { [ -s "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
case "$1" in
  start)
    if [ -e "$here/$name.broken" ]; then echo "$name is broken" >&2; exit 1; fi
    status || start-stop-daemon --start --background --make-pidfile --pidfile "$pid" --startas /bin/bash -- \
      -c "n=0; while :; do n=\$((n+1)); echo \$n >>'$here/home/$name.log'; sleep 0.01; done"
    ;;
  stop)
    if [ -e "$here/$name.slow" ]; then sleep 60; fi
    if status; then kill "$(cat "$pid")"; while status; do sleep 0.01; done; fi; rm -f "$pid"
    ;;
  status) sed -i '$d' "$here/actions"; status && exit 0 || exit 3 ;;
  *) exit 2 ;;
esac
"#;

/// A stand-in for systemctl, whose units are such scripts.
const SYSTEMCTL: &str = r#"
here=$(dirname "$0"); action=$1; unit=${@: -1}
case "$action" in
  show) [ -x "$here/$unit" ] && echo loaded || echo not-found ;;
  is-active) [ -x "$here/$unit" ] || exit 4; "$here/$unit" status ;;
  *) exec "$here/$unit" "$action" ;;
esac
"#;

struct Services {
    bk: Bkhost,
    names: Vec<&'static str>,
}

impl Services {
    /// Running services, with a home that they write to.
    fn start(names: &[&'static str]) -> Self {
        let bk = Bkhost::new();
        std::fs::create_dir(bk.path("home")).unwrap();
        std::fs::write(bk.path("home/f"), "1").unwrap();
        let services = Self { bk, names: names.to_vec() };
        for name in names {
            let _ = services.bk.program(name, SCRIPT);
            services.act(name, "start");
        }
        services.forget();
        services
    }

    fn script(&self, name: &str) -> PathBuf {
        self.bk.path(name)
    }

    fn act(&self, name: &str, action: &str) {
        let mut command = std::process::Command::new(self.script(name));
        command.arg(action);
        tool(command);
    }

    fn config(&self, application: &str) {
        self.bk.config(&[application, &directory_part("home", &self.bk.path("home"))]);
    }

    /// The services by their scripts.
    fn by_scripts(&self, keys: &str) {
        let scripts: Vec<String> = self.names.iter().map(|name| format!("{:?}", self.script(name))).collect();
        self.config(&format!("[application]\ntype = \"service\"\nservices = [{}]\n{keys}\n", scripts.join(", ")));
    }

    fn pid(&self, name: &str) -> Option<u32> {
        let pid = std::fs::read_to_string(self.bk.path(&format!("{name}.pid"))).ok()?.trim().parse().ok()?;
        std::path::Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    fn runs(&self, name: &str) -> bool {
        self.pid(name).is_some()
    }

    fn all_run(&self) -> bool {
        self.names.iter().all(|name| self.runs(name))
    }

    fn actions(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.bk.path("actions")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(self.bk.path("actions"));
    }

    fn mark(&self, name: &str) {
        std::fs::write(self.bk.path(name), "").unwrap();
    }

    fn unmark(&self, name: &str) {
        std::fs::remove_file(self.bk.path(name)).unwrap();
    }

    fn run(&self) -> Outcome {
        self.bk.run(&["run"])
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = std::fs::remove_file(self.bk.path(&format!("{name}.slow")));
            if let Some(pid) = self.pid(name) {
                kill(pid);
            }
        }
    }
}

#[test]
fn services_are_stopped_for_the_capture_and_started_again() {
    let services = Services::start(&["proxy", "server", "idle"]);
    services.by_scripts("");
    services.act("idle", "stop");
    services.forget();
    let first = services.pid("proxy");
    let manifest = services.bk.backup();
    // In the order of the configuration, and back in the reverse one; what did not run is left alone.
    assert_eq!(services.actions(), ["stop proxy", "stop server", "start server", "start proxy"]);
    assert!(services.runs("proxy") && services.runs("server") && !services.runs("idle"));
    assert_ne!(services.pid("proxy"), first);
    assert_eq!(manifest["application"]["kind"], "service");
    assert_eq!(manifest["application"]["mode"], "locked");
    // What was started lives on after the run, and works.
    let lines = || std::fs::read_to_string(services.bk.path("home/proxy.log")).unwrap().lines().count();
    let before = lines();
    until("the daemon writes", Duration::from_secs(10), || lines() > before);
    // Nothing was written while it was captured: the last line is whole, and the numbers begin anew right after it.
    let restored = services.bk.path("restored");
    let id = manifest["id"].as_str().unwrap();
    services
        .bk
        .run(&["restore", id, "--to", &restored.display().to_string(), "--confirm", services.bk.instance()])
        .ok();
    for name in ["proxy", "server"] {
        let kept = std::fs::read_to_string(restored.join(format!("{name}.log"))).unwrap();
        let now = std::fs::read_to_string(services.bk.path(&format!("home/{name}.log"))).unwrap();
        let rest = now.strip_prefix(&kept).expect("what was captured is how it began");
        assert!(kept.ends_with('\n') && rest.starts_with("1\n"), "{name}: {kept} | {rest}");
    }
}

#[test]
fn services_of_systemd() {
    let services = Services::start(&["proxy", "server"]);
    let systemctl = services.bk.program("systemctl", SYSTEMCTL);
    let keys = |services: &str| {
        format!(
            "[application]\ntype = \"service\"\nmanager = \"systemd\"\nsystemctl = {systemctl:?}\nservices = {services}\n"
        )
    };
    services.config(&keys("[\"proxy\", \"server\"]"));
    let _ = services.bk.backup_id();
    assert_eq!(services.actions(), ["stop proxy", "stop server", "start server", "start proxy"]);
    let plan = services.bk.run(&["plan"]).ok();
    assert!(plan.stderr.contains("systemctl stop proxy") && plan.stderr.contains("systemctl start server"), "{plan}");
    services.forget();
    services.config(&keys("[\"proxy\", \"unknown\"]"));
    services.run().fails(5, &["unknown", "no such unit"]);
    assert_eq!(services.actions(), [""; 0], "nothing was stopped");
}

#[test]
fn a_service_left_stopped() {
    let services = Services::start(&["proxy", "server"]);
    services.by_scripts("timeout = \"5s\"");
    // The second one does not stop: the first has to come back.
    services.mark("server.slow");
    services.run().fails(5, &["server", "could not be brought to rest", "did not end within"]);
    assert!(services.all_run(), "{:?}", services.actions());
    assert_eq!(services.bk.stored(), [""; 0]);
    services.unmark("server.slow");
    // One that does not start at once is started until it does.
    services.mark("proxy.broken");
    let run = services.bk.spawn(&["run"]);
    until("it is tried", Duration::from_secs(20), || {
        services.actions().iter().filter(|action| *action == "start proxy").count() >= 3
    });
    assert!(services.runs("server"), "one that fails does not keep the other from coming back");
    services.unmark("proxy.broken");
    run.end().ok();
    assert!(services.all_run());
}

#[test]
fn a_dead_run_leaves_no_service_stopped() {
    for (what, slow) in [("in the middle of a stop", true), ("in the capture", false)] {
        let services = Services::start(&["proxy", "server"]);
        services.by_scripts("");
        if slow {
            services.mark("server.slow");
        } else {
            // A capture that takes long enough to be killed in.
            std::fs::create_dir(services.bk.path("home/many")).unwrap();
            for n in 0..20_000 {
                std::fs::write(services.bk.path(&format!("home/many/{n}")), "x").unwrap();
            }
        }
        let run = services.bk.spawn(&["run"]);
        until(what, Duration::from_secs(30), || {
            let actions = services.actions();
            let stopped = !services.runs("proxy") && actions.iter().any(|action| action == "stop server");
            stopped && (slow || !services.runs("server"))
        });
        kill(run.pid());
        let _ = run.end_with_guard();
        until("the guard starts them again", Duration::from_secs(30), || services.all_run());
        services.bk.run(&["recover"]).ok();
        assert!(services.all_run(), "{what}: {:?}", services.actions());
        assert_eq!(services.bk.stored(), [""; 0]);
    }
}

#[test]
fn a_recovery_starts_what_ran_whatever_the_configuration_says_now() {
    let services = Services::start(&["proxy", "server"]);
    services.by_scripts("");
    services.act("server", "stop");
    services.mark("proxy.slow");
    let run = services.bk.spawn(&["run"]);
    until("it stops", Duration::from_secs(30), || services.actions().iter().any(|action| action == "stop proxy"));
    kill(guard_of(run.pid()).unwrap());
    kill(run.pid());
    let _ = run.end_with_guard();
    let _ = std::fs::remove_file(services.bk.path("proxy.slow"));
    if let Some(pid) = services.pid("proxy") {
        kill(pid);
    }
    // One more service, and other times.
    services.by_scripts("max-lock-time = \"5m\"");
    services.bk.run(&["recover"]).ok();
    assert!(services.runs("proxy") && !services.runs("server"), "{:?}", services.actions());
}

#[test]
fn started_by_somebody_while_it_is_captured() {
    let services = Services::start(&["proxy"]);
    services.by_scripts("");
    std::fs::create_dir(services.bk.path("home/many")).unwrap();
    for n in 0..20_000 {
        std::fs::write(services.bk.path(&format!("home/many/{n}")), "x").unwrap();
    }
    let mut run = services.bk.spawn(&["run", "--json"]);
    run.reaches("capture");
    services.act("proxy", "start");
    run.end().fails(5, &["went back to work", "consistent"]);
    assert!(services.all_run());
    assert_eq!(services.bk.stored(), [""; 0]);
}

#[test]
fn its_data_is_not_replaced_while_it_runs() {
    let services = Services::start(&["proxy"]);
    services.by_scripts("");
    let id = services.bk.backup_id();
    let confirm = ["--confirm", services.bk.instance()];
    services.bk.run(&[&["restore", &id], &confirm[..]].concat()).fails(9, &["is"]);
    services.act("proxy", "stop");
    std::fs::remove_dir_all(services.bk.path("home")).unwrap();
    services.bk.run(&[&["restore", &id], &confirm[..]].concat()).ok();
    assert_eq!(std::fs::read_to_string(services.bk.path("home/f")).unwrap(), "1");
}

/// As the simplest scripts start it: in the background, in the script's own process group and with its output.
#[test]
fn a_service_that_a_restore_starts_outlives_it() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let script = bk.program("service", "sleep 300 & echo $! >\"$(dirname \"$0\")/pid\"");
    let after = format!("[application]\ntype = \"none\"\n[restore]\ntimeout = \"30s\"\nafter = [[{script:?}]]\n");
    bk.config(&[&after, &directory_part("home", &bk.path("home"))]);
    let id = bk.backup_id();
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    let restored = bk.run(&["restore", &id, "--confirm", bk.instance()]).ok();
    assert!(restored.elapsed < Duration::from_secs(20), "it waited for the service: {restored}");
    let pid: u32 = std::fs::read_to_string(bk.path("pid")).unwrap().trim().parse().unwrap();
    let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
    kill(pid);
    assert!(alive, "the service that was started is gone: {restored}");
}

/// An application with commands of its own, whose state is a file.
fn commanded(keys: &str) -> Bkhost {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let app = bk.program(
        "app",
        r#"here=$(dirname "$0"); echo "$1" >>"$here/actions"
           case "$1" in
             quiesce) if [ -e "$here/hang" ]; then sleep 60; fi; touch "$here/resting"; [ ! -e "$here/fail" ] ;;
             resume) rm -f "$here/resting" ;;
             at-rest) [ -e "$here/resting" ] ;;
             running) exit 0 ;;
           esac"#,
    );
    let command = |key: &str| format!("{key} = [{app:?}, \"{key}\"]\n");
    let application = format!("[application]\ntype = \"command\"\n{}{}{keys}", command("quiesce"), command("resume"));
    let application = application.replace("AT-REST", &command("at-rest")).replace("RUNNING", &command("running"));
    bk.config(&[&application, &directory_part("home", &bk.path("home"))]);
    bk
}

#[test]
fn commands_of_the_operator() {
    let bk = commanded("AT-REST");
    let manifest = bk.backup();
    assert_eq!(manifest["application"]["kind"], "command");
    let actions = std::fs::read_to_string(bk.path("actions")).unwrap();
    let words: Vec<&str> = actions.lines().filter(|word| *word != "at-rest").collect();
    assert_eq!(words, ["quiesce", "resume"]);
    assert!(actions.contains("at-rest") && !bk.path("resting").exists());
    // Nobody can tell whether it runs, so nothing is put into its original place.
    let id = manifest["id"].as_str().unwrap();
    bk.run(&["restore", id, "--confirm", bk.instance()]).fails(9, &["not empty"]);
    std::fs::remove_dir_all(bk.path("home")).unwrap();
    bk.run(&["restore", id, "--confirm", bk.instance()]).fails(3, &["running"]);
    assert!(!bk.path("home").exists());
}

#[test]
fn a_quiesce_that_fails_or_hangs_is_resumed() {
    let bk = commanded("");
    std::fs::write(bk.path("fail"), "").unwrap();
    bk.run(&["run"]).fails(5, &["could not be brought to rest", "status 1"]);
    assert!(!bk.path("resting").exists() && bk.stored().is_empty());
    let bk = commanded("timeout = \"1s\"");
    std::fs::write(bk.path("hang"), "").unwrap();
    bk.run(&["run"]).fails(5, &["did not end within 1 s"]);
    assert!(std::fs::read_to_string(bk.path("actions")).unwrap().ends_with("resume\n"));
    // A run that is cancelled meanwhile.
    let bk = commanded("");
    std::fs::write(bk.path("hang"), "").unwrap();
    let run = bk.spawn(&["run"]);
    until("it hangs", Duration::from_secs(20), || bk.path("actions").exists());
    run.signal(Signal::TERM);
    run.end().fails(11, &["cancelled"]);
    assert!(std::fs::read_to_string(bk.path("actions")).unwrap().ends_with("resume\n"));
}
