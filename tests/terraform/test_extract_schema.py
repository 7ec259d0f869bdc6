"""The schema is read out of the provider's bindings as they are written; what is written otherwise
is an error and not a gap.
"""

import base64
import io
import json
import tarfile
import zipfile

import pytest

from tests.terraform.extract_schema import UnknownShapeError, extract, main, module_of

META = "providerVersion: '6.50.0',"
PROVIDER = """
export interface GoogleProviderConfig {
  /**
  * batching block
  */
  readonly batching?: GoogleProviderBatching[];
}
export interface GoogleProviderBatching {
  readonly sendAfter: string;
}
export function googleProviderBatchingToHclTerraform(struct?: any): any {
  const attrs = {
    send_after: {
      value: cdktf.stringToHclTerraform(struct!.sendAfter),
      isBlock: false,
      type: "simple",
      storageClassType: "string",
    },
  };
}
export class GoogleProvider extends cdktf.TerraformProvider {
  // batching - computed: false, optional: true, required: false
  private _batching?: GoogleProviderBatching[];
  // =========
  // SYNTHESIS
  // =========
  protected synthesizeHclAttributes(): { [name: string]: any } {
    const attrs = {
      batching: {
        value: cdktf.listMapperHcl(googleProviderBatchingToHclTerraform, true)(this._batching),
        isBlock: true,
        type: "list",
        storageClassType: "GoogleProviderBatchingList",
      },
    };
  }
}
"""
TOPIC = """
export interface PubTopicConfig extends cdktf.TerraformMetaArguments {
  /**
  * policy block
  */
  readonly policy: PubTopicPolicy;
}
export interface PubTopicPolicy {
  readonly regions: string[];
}
export function pubTopicPolicyToHclTerraform(struct?: PubTopicPolicy): any {
  const attrs = {
    regions: {
      value: cdktf.listMapperHcl(cdktf.stringToHclTerraform, false)(struct!.regions),
      isBlock: false,
      type: "set",
      storageClassType: "stringList",
    },
  };
}
export class PubTopicPolicyOutputReference extends cdktf.ComplexObject {
  // regions - computed: false, optional: false, required: true
  private _regions?: string[];
  public get regions() {
    return cdktf.Fn.tolist(this.getListAttribute('regions'));
  }
}
export interface PubTopicFound {
}
export class PubTopicFoundOutputReference extends cdktf.ComplexObject {
  // count - computed: true, optional: false, required: false
  public get count() {
    return this.getNumberAttribute('count');
  }
}
export class PubTopic extends cdktf.TerraformResource {
  // found - computed: true, optional: false, required: false
  private _found = new PubTopicFoundList(this, "found", true);
  // labels - computed: false, optional: true, required: false
  private _labels?: { [key: string]: string };
  public get labels() {
    return this.getStringMapAttribute('labels');
  }
  // project - computed: true, optional: true, required: false
  private _project?: string;
  public get project() {
    return this.getStringAttribute('project');
  }
  // ready - computed: true, optional: false, required: false
  public get ready() {
    return this.getBooleanAttribute('ready');
  }
  // regions - computed: true, optional: false, required: false
  public get regions() {
    return cdktf.Fn.tolist(this.getListAttribute('regions'));
  }
  // tags - computed: true, optional: false, required: false
  private _tags = new cdktf.StringMap(this, "tags");
  // policy - computed: false, optional: false, required: true
  private _policy = new PubTopicPolicyOutputReference(this, "policy");
  // =========
  // SYNTHESIS
  // =========
  protected synthesizeHclAttributes(): { [name: string]: any } {
    const attrs = {
      labels: {
        value: cdktf.hashMapperHcl(cdktf.stringToHclTerraform)(this._labels),
        isBlock: false,
        type: "map",
        storageClassType: "stringMap",
      },
      project: {
        value: cdktf.stringToHclTerraform(this._project),
        isBlock: false,
        type: "simple",
        storageClassType: "string",
      },
      policy: {
        value: pubTopicPolicyToHclTerraform(this._policy.internalValue),
        isBlock: true,
        type: "list",
        storageClassType: "PubTopicPolicyList",
      },
    };
  }
}
"""


@pytest.fixture
def wheel(tmp_path):
    """Builds a wheel of bindings from TypeScript by module, wrapped as the real one wraps it."""

    def build(**modules):
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:gz") as package:
            for name, source in modules.items():
                content = json.dumps({"sourcesContent": [META + source]}).encode()
                url = "data:application/json;base64," + base64.b64encode(content).decode()
                script = f'"use strict";\n//# sourceMappingURL={url}\n'.encode()
                entry = tarfile.TarInfo(f"package/lib/{name.replace('_', '-')}/index.js")
                entry.size = len(script)
                package.addfile(entry, io.BytesIO(script))
        path = tmp_path / "bindings-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bindings/_jsii/provider@1.0.jsii.tgz", inner.getvalue())
        return path

    return build


def test_names_types_and_what_is_required_are_read(wheel):
    schema = extract(wheel(provider=PROVIDER, pub_topic=TOPIC), ["google_pub_topic"])
    assert schema["resources"]["google_pub_topic"] == {
        "attributes": {
            "found": {"type": ["set", ["object", {"count": "number"}]], "computed": True},
            "labels": {"type": ["map", "string"], "optional": True},
            "project": {"type": "string", "optional": True, "computed": True},
            "ready": {"type": "bool", "computed": True},
            "regions": {"type": ["set", "string"], "computed": True},
            "tags": {"type": ["map", "string"], "computed": True},
        },
        "block_types": {
            "policy": {
                "nesting_mode": "list",
                "min_items": 1,
                "max_items": 1,
                "block": {"attributes": {"regions": {"type": ["set", "string"], "required": True}}},
            }
        },
    }


def test_the_provider_s_own_block_comes_along(wheel):
    schema = extract(wheel(provider=PROVIDER), [])
    assert schema["provider"]["block_types"]["batching"] == {
        "nesting_mode": "list",
        "block": {"attributes": {"send_after": {"type": "string", "required": True}}},
    }


def test_the_version_and_the_wheel_are_recorded(wheel):
    source = extract(wheel(provider=PROVIDER), [])["source"]
    assert source["provider_version"] == "6.50.0"
    assert source["wheel"] == "bindings-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("this.getNumberAttribute('count')", "this.interpolationForAttribute('count')"),
        ('storageClassType: "stringMap"', 'storageClassType: "anyMap"'),
        ("* policy block", "* what a policy is"),
        ("  // project - computed: true, optional: true, required: false\n", ""),
        ("export function pubTopicPolicyToHclTerraform", "export const policy"),
    ],
)
def test_what_is_written_otherwise_is_an_error_not_a_gap(wheel, old, new):
    assert old in TOPIC
    changed = TOPIC.replace(old, new)
    with pytest.raises(UnknownShapeError):
        extract(wheel(provider=PROVIDER, pub_topic=changed), ["google_pub_topic"])


def test_a_type_that_the_provider_does_not_have_is_named(wheel, tmp_path, capsys):
    path = wheel(provider=PROVIDER)
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    assert main([str(path), "google_pub_sub", "--schemas", str(schemas)]) == 1
    assert "google_pub_sub" in capsys.readouterr().err
    assert not list(schemas.iterdir())


def test_types_that_were_there_come_along(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.terraform.extract_schema.used", set)
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    data = TOPIC.replace("TerraformResource", "TerraformDataSource")
    path = wheel(provider=PROVIDER, pub_topic=TOPIC, data_google_pub_topic=data)
    assert main([str(path), "data.google_pub_topic", "--schemas", str(schemas)]) == 0
    assert main([str(path), "google_pub_topic", "--schemas", str(schemas)]) == 0
    schema = json.loads((schemas / "6.50.0.json").read_text())
    assert set(schema["data_sources"]) == set(schema["resources"]) == {"google_pub_topic"}


def test_the_library_s_later_name_is_read_too(wheel):
    path = wheel(provider=PROVIDER.replace("cdktf.", "cdktn."))
    assert "batching" in extract(path, [])["provider"]["block_types"]


def test_a_data_source_is_in_a_module_of_its_own():
    assert module_of("data.google_project") == "data-google-project"
    assert module_of("google_compute_router_nat") == "compute-router-nat"
