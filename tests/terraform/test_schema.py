"""What the provider would refuse is refused here, by name, and `composer.tf` has none of it."""

import re
from pathlib import Path

import pytest

from tests.terraform import schema as schemas
from tests.terraform.check import problems
from tests.terraform.configuration import Block, SyntaxProblemError, literal, parse

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "composer.tf", ROOT / "monitoring.tf"]
SERVICE = (Path(__file__).parent / "fixtures" / "service.tf").read_text()


def said(text: str) -> list[str]:
    return problems(parse(text), schemas.load())


def changed(old: str, new: str) -> str:
    assert SERVICE.count(old) >= 1, f"the fixture has no {old!r}"
    return SERVICE.replace(old, new, 1)


@pytest.fixture(scope="module")
def composer() -> Block:
    return parse("".join(path.read_text() for path in FILES))


@pytest.mark.slow
@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_composer_tf_has_nothing_that_a_provider_would_refuse(composer, version):
    assert problems(composer, schemas.load(version)) == []


def test_the_providers_that_are_allowed_are_those_whose_schemas_are_checked(composer):
    (terraform,) = composer.of_type("terraform")
    (providers,) = terraform.of_type("required_providers")
    google = literal(providers.arguments["google"].expression)
    least, below = re.fullmatch(r">= (7\.\d+), < (\d+)", google["version"]).groups()
    for version in schemas.VERSIONS:
        source = schemas.load(version)["source"]
        assert (google["source"], version) == (source["provider"], source["provider_version"])
        number = tuple(map(int, version.split(".")))
        assert tuple(map(int, least.split("."))) <= number < (int(below),)
    majors = {version.partition(".")[0] for version in schemas.VERSIONS}
    assert majors == {str(each) for each in range(int(least[0]), int(below))}


def test_terraform_s_own_version_is_bounded_below(composer):
    (terraform,) = composer.of_type("terraform")
    assert ">=" in literal(terraform.arguments["required_version"].expression)


def test_every_variable_and_every_output_is_described(composer):
    silent = [
        block
        for block in composer.of_type("variable", "output")
        if "description" not in block.arguments
    ]
    assert not [block.labels for block in silent]


def test_a_sound_configuration_has_no_problems():
    assert said(SERVICE) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        # a resource's or a data source's type
        (
            '"google_pubsub_topic" "',
            '"google_pubsub_topics" "',
            "no resource google_pubsub_topics is known (meant google_pubsub_topic?)",
        ),
        ('"google_project"', '"google_projekt"', "no data google_projekt is known"),
        # an argument: of a resource, of a block, of a dynamic block, of the provider, of a variable
        (
            "ack_deadline_seconds",
            "ack_deadline_second",
            "prompts has no argument ack_deadline_second (meant ack_deadline_seconds?)",
        ),
        (
            "ttl =",
            "tll =",
            "google_pubsub_subscription.prompts: expiration_policy has no argument tll",
        ),
        (
            "minimum_backoff",
            "minimal_backoff",
            "google_pubsub_subscription.prompts: retry_policy has no argument minimal_backoff",
        ),
        ("default_labels", "standard_labels", "provider google has no argument standard_labels"),
        ('description = "Who may', 'text = "Who may', "variable subscribers has no argument text"),
        ("prevent_destroy", "prevent_deletion", "lifecycle has no argument prevent_deletion"),
        # a block, plain and dynamic
        (
            "expiration_policy {",
            "expiry_policy {",
            "google_pubsub_subscription.prompts has no block expiry_policy",
        ),
        (
            'dynamic "retry_policy"',
            'dynamic "retrial_policy"',
            "google_pubsub_subscription.prompts has no block retrial_policy",
        ),
        (
            "timeouts {",
            "timeout {",
            "google_pubsub_subscription.prompts has no block timeout (meant timeouts?)",
        ),
        (
            "validation {",
            "validate {",
            "variable project has no block validate (meant validation?)",
        ),
        (
            'output "environment"',
            'outputs "environment"',
            "no block outputs is known (meant output?)",
        ),
        # what is required
        (
            "  topic                = google_pubsub_topic.prompts.id\n",
            "",
            "google_pubsub_subscription.prompts needs topic",
        ),
        ('    protocol = "tcp"\n', "", "google_compute_firewall.workers: allow needs protocol"),
        (
            '    error_message = "A',
            '    message = "A',
            "variable project: validation needs error_message",
        ),
        (
            '    action {\n      type = "Delete"\n    }\n',
            "",
            "google_storage_bucket.images: lifecycle_rule needs a block action",
        ),
        # one shape for the other, and too many of one
        (
            "expiration_policy {",
            "expiration_policy = {",
            "expiration_policy is a block, not an argument",
        ),
        (
            'source_ranges = ["10.0.0.0/20"]',
            "source_ranges {}",
            "google_compute_firewall.workers: source_ranges is an argument, not a block",
        ),
        (
            "  expiration_policy {",
            "  expiration_policy {\n    ttl = 1\n  }\n  expiration_policy {",
            "takes one block expiration_policy only",
        ),
        # what the provider alone sets
        (
            'account_id   = "worker"',
            'account_id = "worker"\n  email = "a@b"',
            "google_service_account.worker: email is the provider's to set",
        ),
        # values of another type
        (
            "ack_deadline_seconds = 600",
            'ack_deadline_seconds = "ten"',
            "ack_deadline_seconds: a number is wanted",
        ),
        (
            "auto_create_subnetworks = false",
            'auto_create_subnetworks = "no"',
            "auto_create_subnetworks: a bool is wanted",
        ),
        (
            'source_ranges = ["10.0.0.0/20"]',
            'source_ranges = "10.0.0.0/20"',
            "source_ranges: a set is wanted",
        ),
        (
            'name                       = "prompts"',
            'name = ["prompts"]',
            "google_pubsub_topic.prompts: name: a string is wanted",
        ),
        ('ports    = [12345, "12346"]', 'ports = [["12345"]]', "ports: a string is wanted"),
        # references: to a resource, an attribute, a variable, a local; in strings and heredocs
        (
            "google_pubsub_topic.prompts.id",
            "google_pubsub_topic.prompt.id",
            "topic.prompt.id: not declared (meant google_pubsub_topic.prompts?)",
        ),
        ("worker.email", "worker.mail", "worker.mail: no attribute mail (meant email?)"),
        ("[0].allowed_persistence_regions", "[0].regions", "no attribute regions"),
        ("worker.member", "worker.member.id", "a string has no attribute id"),
        ("= var.project\n", "= var.projekt\n", "var.projekt: not declared (meant project?)"),
        ("= local.labels", "= local.label", "local.label: not declared (meant labels?)"),
        ("prompts-${each.key}", "prompts-${each.name}", "each.name: there is no such thing"),
        ("this.number}", "this.numbers}", "data.google_project.this.numbers: no attribute numbers"),
        (
            'google_pubsub_subscription.prompts["plain"].name',
            "google_pubsub_subscription.prompts.name",
            "has for_each, so an index is needed",
        ),
        (
            "[google_pubsub_topic.prompts]\n",
            "[google_pubsub_topic.topic]\n",
            "google_pubsub_topic.topic: not declared",
        ),
        # what nobody uses
        ("default_labels = local.labels", "default_labels = {}", "local.labels is never used"),
        ("project        = var.project", 'project = "demo"', "var.project is never used"),
    ],
)
def test_what_the_provider_would_refuse_is_refused_with_its_name(old, new, words):
    found = said(changed(old, new))
    assert any(words in one for one in found), found


def test_terraforms_own_resource_needs_no_provider_and_is_checked_too():
    text = 'resource "terraform_data" "a" {\n  triggers_replace = [1]\n'
    run = '  provisioner "local-exec" {\n    command = "sleep 1"\n  }\n}\n'
    assert said(SERVICE + text + run) == []
    assert (
        "has no argument trigger"
        in said(SERVICE + text.replace("triggers_replace", "trigger") + run)[0]
    )
    assert "provisioner needs command" in said(SERVICE + text + run.replace("command", "when"))[0]


def test_a_problem_names_its_line():
    text = changed("ack_deadline_seconds", "ack_deadline_second")
    line = 1 + text[: text.index("ack_deadline_second ")].count("\n")
    assert said(text)[0].startswith(f"line {line}: ")


@pytest.mark.parametrize("text", ['resource "a" "b" {', "variable = = 2", 'x = "${"'])
def test_what_is_not_hcl_is_refused(text):
    with pytest.raises(SyntaxProblemError, match="line 1"):
        parse(text)


def test_an_argument_set_twice_is_refused():
    with pytest.raises(SyntaxProblemError, match="line 2: a is set twice"):
        parse("a = 1\na = 2")


@pytest.mark.parametrize(
    "text",
    [
        "[for name in var.subscribers : name.filter]",
        "{ for key, one in var.subscribers : key => one... if one.days > 1 }",
        "[for one in var.subscribers : { for key, own in { a = one.days } : key => own }]",
        '"%{ for one in var.subscribers }${one.days}%{ endfor }"',
        "{ project = var.subscribers, (var.project) = 1 }",
        '"$${not.a_reference}"',
        '"google_pubsub_topic.nowhere"',
    ],
)
def test_loop_variables_keys_and_words_in_strings_are_no_references(text):
    assert said(SERVICE + f'output "one" {{\n  value = {text}\n}}\n') == []
