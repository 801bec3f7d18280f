"""Holds Kubernetes manifests to the published schemas of several versions, and to what the schemas leave unsaid.

    templates.py MANIFEST...

Each manifest is also changed in ways that a schema or a rule must refuse: a check that refuses nothing shows nothing.
"""

import copy
import sys

import kubernetes_validate
import yaml

# Jobs have all that is used here since 1.29; it is on everywhere since 1.33.
VERSIONS = ["1.29", "1.31", "1.33", "1.35", "1.37"]


class Refused(Exception):
    pass


def require(condition, complaint):
    if not condition:
        raise Refused(complaint)


def check_schema(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(f"schema of {version}: {'.'.join(map(str, error.path))}: {error.message}") from error


def environment(container):
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}


def check_job(job, claims):
    """What the API server, or the Job's controller, would find wrong; and what leadspan needs."""
    spec = job["spec"]
    pod = spec["template"]["spec"]
    containers = pod.get("initContainers", []) + pod["containers"]
    indexed = spec.get("completionMode") == "Indexed"
    require(pod["restartPolicy"] == "Never", "a podFailurePolicy needs restartPolicy Never")
    require(spec.get("podReplacementPolicy", "Failed") == "Failed", "with a podFailurePolicy, pods are replaced once failed")
    require(indexed or "backoffLimitPerIndex" not in spec, "backoffLimitPerIndex needs an indexed Job")
    names = {container["name"] for container in containers}
    actions = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        require((codes is None) != ("onPodConditions" not in rule), "a rule is about exit codes or about conditions")
        require(indexed or rule["action"] != "FailIndex", "FailIndex needs an indexed Job")
        if codes is None:
            actions["disrupted"] = rule["action"]
            continue
        require(codes.get("containerName") in names | {None}, f"no container {codes.get('containerName')}")
        require(codes["values"] == sorted(set(codes["values"])), "exit codes are to be in order, each once")
        require(codes["operator"] != "In" or 0 not in codes["values"], "exit code 0 is no failure")
        for code in codes["values"]:
            actions.setdefault(code, rule["action"])
    expected = {75: "Ignore", "disrupted": "Ignore", 1: "FailIndex" if indexed else "FailJob"}
    require(actions == expected, f"what happens is {actions}, and should be {expected}")
    if indexed:
        workers = environment(pod["containers"][0]).get("LEADSPAN_WORKERS")
        require(workers == str(spec["completions"]), "LEADSPAN_WORKERS is not the number of completions")
        require(spec["parallelism"] <= spec["completions"], "more pods at a time than there are indexes")
        require(spec["maxFailedIndexes"] <= spec["completions"], "more failed indexes than there are")
    require(pod["terminationGracePeriodSeconds"] > 10, "the program may take 10 seconds to stop")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim")
        require(claim is None or claim["claimName"] in claims, f"no such claim: {claim}")
    for container in containers:
        for mount in container["volumeMounts"]:
            require(mount["name"] in volumes, f"no volume {mount['name']}")
        # A limit that is below its request is refused by the API server; equal memory keeps a pod from being killed for others.
        resources = container["resources"]
        require(resources["requests"]["memory"] == resources["limits"]["memory"], "memory's request and limit differ")
    selector = job["metadata"]["labels"].items() <= spec["template"]["metadata"]["labels"].items()
    require(selector, "the pods lack labels of their Job")


def check(document, claims):
    check_schema(document)
    if document["kind"] == "Job":
        check_job(document, claims)


def changed(document):
    """Manifests that must be refused."""
    if document["kind"] != "Job":
        wrong = copy.deepcopy(document)
        wrong["spec"]["accessMode"] = wrong["spec"].pop("accessModes")
        yield "a misspelt field", wrong
        return
    changes = {
        "a misspelt field": lambda spec: spec.update(podFailurePolicies=spec.pop("podFailurePolicy")),
        "an action that is none": lambda spec: spec["podFailurePolicy"]["rules"][0].update(action="Retry"),
        "a number in words": lambda spec: spec.update(backoffLimit="five"),
        "a pod that restarts": lambda spec: spec["template"]["spec"].update(restartPolicy="OnFailure"),
        "another claim": lambda spec: spec["template"]["spec"]["volumes"][0]["persistentVolumeClaim"].update(claimName="x"),
        "75 as a failure": lambda spec: spec["podFailurePolicy"]["rules"].pop(0),
    }
    if document["spec"].get("completionMode") == "Indexed":
        changes["more indexes than workers"] = lambda spec: spec.update(completions=spec["completions"] + 1)
    for what, change in changes.items():
        wrong = copy.deepcopy(document)
        change(wrong["spec"])
        yield what, wrong


def main(paths):
    documents = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            documents[path] = [document for document in yaml.safe_load_all(file) if document]
    everything = [document for parts in documents.values() for document in parts]
    claims = {part["metadata"]["name"] for part in everything if part["kind"] == "PersistentVolumeClaim"}
    for path, parts in documents.items():
        for document in parts:
            try:
                check(document, claims)
            except Refused as refusal:
                sys.exit(f"FAILED: {path}: {refusal}")
            wrongs = list(changed(document))
            for what, wrong in wrongs:
                try:
                    check(wrong, claims)
                except Refused:
                    continue
                sys.exit(f"FAILED: {path} with {what} was not refused")
            name = f"{document['kind']} {document['metadata']['name']}"
            print(f"{path}: {name} is valid for Kubernetes {', '.join(VERSIONS)}; {len(wrongs)} wrong ones were refused")


if __name__ == "__main__":
    main(sys.argv[1:])
