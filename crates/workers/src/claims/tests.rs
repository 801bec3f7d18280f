use std::{
    fs::File,
    process,
    sync::{Arc, Barrier},
    thread,
};

use leadspan_diagnosis::Diagnosis as _;

use super::*;

const LEASE: Duration = Duration::from_mins(10);

fn claims(dir: &Path) -> Claims {
    Claims::new(dir, LEASE).unwrap()
}

/// The claims as another machine sees and makes them. Locks of this machine say nothing there.
fn elsewhere(dir: &Path) -> Claims {
    let mut claims = claims(dir);
    claims.own.kernel = "another".to_owned();
    claims
}

fn claim(claims: &Claims, name: &str) -> Option<Claim> {
    match claims.attempt(name).unwrap() {
        Attempt::Claimed(claim) => Some(claim),
        Attempt::Held(_) => None,
    }
}

/// Leaves a claim behind as a killed process does.
fn die(claim: Claim) {
    let (path, text) = (claim.path.clone(), fs::read(&claim.path).unwrap());
    drop(claim);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Makes the last renewal of a claim `by` older.
fn age(dir: &Path, name: &str, by: Duration) {
    let file = File::options().write(true).open(dir.join(FOLDER).join(name)).unwrap();
    let renewed = file.metadata().unwrap().modified().unwrap();
    file.set_modified(renewed - by).unwrap();
}

#[test]
fn one_process_holds_a_claim_until_it_drops_it_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (claims(folder.path()), claims(folder.path()));
    let held = claim(&one, "unit").unwrap();
    let Attempt::Held(holder) = other.attempt("unit").unwrap() else {
        panic!("another process holds it")
    };
    assert_eq!(holder.process, process::id());
    assert!(holder.to_string().starts_with(&format!("process {}", process::id())));
    assert!(
        claim(&one, "unit").is_none(),
        "its own process does not get it twice either"
    );
    assert!(claim(&other, "another").is_some());
    assert_eq!(held.renew().unwrap(), Renewal::Renewed);
    drop(held);
    assert!(claim(&other, "unit").is_some());
    drop((one, other));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_death_is_noticed_at_once_on_the_same_machine_and_elsewhere_when_the_lease_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (claims(folder.path()), elsewhere(folder.path()));
    die(claim(&here, "unit").unwrap());
    assert!(
        claim(&there, "unit").is_none(),
        "locks of the other machine do not reach here"
    );
    die(claim(&here, "unit").unwrap());
    age(folder.path(), "unit", LEASE * 99 / 100);
    assert!(claim(&there, "unit").is_none());
    age(folder.path(), "unit", LEASE / 50);
    let taken = claim(&there, "unit").unwrap();
    assert!(claim(&here, "unit").is_none());
    drop(taken);
}

#[test]
fn a_holder_that_was_suspended_beyond_its_lease_learns_that_it_lost_its_claim() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (claims(folder.path()), elsewhere(folder.path()));
    let slow = claim(&one, "unit").unwrap();
    age(folder.path(), "unit", LEASE * 2);
    assert_eq!(slow.renew().unwrap(), Renewal::Renewed, "no process has taken it yet");
    assert!(claim(&other, "unit").is_none(), "its lease runs again");
    age(folder.path(), "unit", LEASE * 2);
    let taken = claim(&other, "unit").unwrap();
    assert_eq!(slow.renew().unwrap(), Renewal::Lost);
    drop(slow);
    assert_eq!(
        taken.renew().unwrap(),
        Renewal::Renewed,
        "the other process did not remove it"
    );
}

#[test]
fn clocks_of_machines_do_not_matter() {
    // The file server's clock may be far behind or far ahead: only its times of two files are compared.
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (claims(folder.path()), elsewhere(folder.path()));
    let held = claim(&one, "unit").unwrap();
    let file = File::options().write(true).open(&held.path).unwrap();
    file.set_modified(file.metadata().unwrap().modified().unwrap() + LEASE * 100)
        .unwrap();
    assert!(claim(&other, "unit").is_none(), "a claim from the future is valid");
}

#[test]
fn a_claim_from_the_future_is_taken_over_after_the_lease_as_the_waiting_process_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    die(claim(&claims(folder.path()), "unit").unwrap());
    let mut waiting = elsewhere(folder.path());
    waiting.lease = Duration::ZERO;
    let path = folder.path().join(FOLDER).join("unit");
    let set_ahead = |days: u32| {
        let file = File::options().write(true).open(&path).unwrap();
        let ahead = std::time::SystemTime::now() + Duration::from_hours(24) * days;
        file.set_modified(ahead).unwrap();
    };
    set_ahead(2);
    let Attempt::Held(holder) = waiting.attempt("unit").unwrap() else {
        panic!("it has just been seen for the first time")
    };
    assert_eq!(holder.process, process::id(), "its holder is named while one waits");
    set_ahead(1);
    assert!(claim(&waiting, "unit").is_none(), "a renewal starts the lease again");
    let taken = claim(&waiting, "unit").expect("it was unchanged for longer than the lease");
    assert_eq!(taken.renew().unwrap(), Renewal::Renewed);
}

/// What a stranger may have put in place of a claim, or of the folder of claims.
#[test]
fn what_is_no_claim_is_refused_by_name_and_leads_nowhere() {
    use leadspan_files::Refusal;
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(FOLDER).join(name);
    fs::create_dir(folder.path().join(FOLDER)).unwrap();
    fs::write(folder.path().join("secret"), b"untouched").unwrap();
    symlink("../secret", at("link")).unwrap();
    symlink("/dev/zero", at("device")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let made = process::Command::new("mkfifo")
        .arg(at("pipe"))
        .arg(at(".a.pipe"))
        .status();
    assert!(made.unwrap().success());
    fs::write(at("huge"), vec![b' '; 1 << 20]).unwrap();
    for name in ["link", "device", "folder", "pipe"] {
        let error = claims(folder.path()).attempt(name).unwrap_err();
        assert!(Refusal::of(&error.source).is_some(), "{error}: {}", error.source);
        assert!(error.to_string().ends_with(&format!("{name}`")) && !error.is_unexpected());
    }
    assert!(claim(&claims(folder.path()), "huge").is_none(), "its holder is unknown");
    remove_dead_claims(folder.path(), &|_, _| true);
    assert!(
        at(".a.pipe").symlink_metadata().is_ok(),
        "what is no file of a dead process stays"
    );
    assert_eq!(fs::read(folder.path().join("secret")).unwrap(), b"untouched");

    let outside = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    symlink(outside.path(), cache.path().join(FOLDER)).unwrap();
    let error = claims(cache.path()).attempt("unit").unwrap_err();
    assert_eq!(Refusal::of(&error.source), Some(Refusal::NotAFolder("a symbolic link")));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn claims_need_no_locks_of_the_file_system() {
    const NO_LOCKS: i32 = 37;
    let folder = tempfile::tempdir().unwrap();
    leadspan_files::faults::without_locks(NO_LOCKS, || {
        let claims = claims(folder.path());
        die(claim(&claims, "unit").unwrap());
        assert!(claim(&claims, "unit").is_none(), "nothing says that its holder is dead");
        age(folder.path(), "unit", LEASE * 2);
        assert!(claim(&claims, "unit").is_some());
    });
}

#[test]
fn of_many_processes_that_ask_at_once_one_gets_a_claim_also_that_of_a_dead_holder() {
    for round in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        if round % 2 == 1 {
            die(claim(&claims(folder.path()), "unit").unwrap());
        }
        let barrier = Arc::new(Barrier::new(8));
        let asking = (0..8).map(|_| {
            let (dir, barrier) = (folder.path().to_owned(), Arc::clone(&barrier));
            thread::spawn(move || {
                let claims = claims(&dir);
                barrier.wait();
                let got = claim(&claims, "unit");
                // A holder keeps its claim until all have asked.
                barrier.wait();
                got.map(|got| got.renew().unwrap())
            })
        });
        let asking: Vec<_> = asking.collect();
        let got: Vec<Renewal> = asking.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        let held = got.iter().filter(|&&renewal| renewal == Renewal::Renewed).count();
        // When a dead process is replaced, two may hold the claim for a moment, and one of them learns that it lost it.
        assert_eq!(held, 1, "round {round}: {got:?}");
        assert!(got.len() == 1 || round % 2 == 1, "round {round}: {got:?}");
    }
}

#[test]
fn the_folder_may_go_between_any_two_steps_of_another_process() {
    let folder = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let dir = folder.path();
            scope.spawn(move || {
                let claims = claims(dir);
                for _ in 0..500 {
                    drop(claim(&claims, name).unwrap());
                }
            });
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_claim_in_a_folder_that_is_gone_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = claims(&missing).attempt("unit").unwrap_err();
    assert!(
        error.to_string().contains("missing") && !error.is_unexpected(),
        "{error}"
    );
}
