# Everything that a deployment consists of on Google Cloud, from an empty project or into what a team has:
#
#   terraform init
#   terraform apply -var project=my-project -var image_tag=0123456789ab
#
# Read it from top to bottom: variables, names, APIs, network, service accounts and roles, storage,
# messages, rows in BigQuery, images and templates, the Composer environment with DAGs and settings,
# outputs. monitoring.tf has the alerts, the dashboard, and the budget. docs/deploying.md says how to
# deploy with it, docs/operating.md and docs/runbook.md how to operate the result.

terraform {
  required_version = ">= 1.9"
  required_providers {
    google = {
      source = "hashicorp/google"
      # The tests hold this file against the schemas of 7.41.0, 7.46.1, and 8.7.0.
      version = ">= 7.34, < 9"
    }
  }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = merge({ app = "imagen" }, var.labels)
}

# Variables.

variable "project" {
  description = "The ID of the Google Cloud project. It must exist and have billing."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "Expected a project ID such as my-project: 6 to 30 lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "The region of all resources. The Gemini image models are called at their global location."
  type        = string
  default     = "us-central1"
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "Expected a region such as us-central1, not a zone."
  }
}

variable "name_prefix" {
  description = "What all names begin with. Choose another one to have a second deployment in the same project."
  type        = string
  default     = "imagen"
  nullable    = false
  validation {
    # A service account's ID has up to 30 characters, and "-composer" is 9 of them.
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name_prefix))
    error_message = "Expected a prefix such as imagen: 3 to 20 lower-case letters, digits and hyphens, first a letter."
  }
}

variable "role_suffix" {
  description = "What the IDs of custom roles end with. Set it to deploy again after a destroy: the ID of a deleted role can't be used from day 7 to day 37."
  type        = string
  default     = ""
  nullable    = false
  validation {
    condition     = can(regex("^(_[a-z0-9]{1,10})?$", var.role_suffix))
    error_message = "Expected a suffix such as _2, or nothing."
  }
}

variable "labels" {
  description = "Labels of everything that can have some, the jobs included, beside app = imagen."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for name, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", name)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Expected labels such as { team = \"pictures\" }: lower-case letters, digits, underscores and hyphens, names first a letter."
  }
  validation {
    condition     = length(setintersection(keys(var.labels), ["app", "imagen-run", "imagen-try"])) == 0
    error_message = "Expected labels other than app, imagen-run, and imagen-try, by which DAGs find their jobs."
  }
}

variable "existing_environment" {
  description = "The name of a Composer environment to deploy into, in the same project and region. It gets the DAGs, plugins, and settings, and nothing else of it is changed. null: creates one."
  type        = string
  default     = null
  validation {
    condition     = var.existing_environment == null || can(regex("^(projects/[^/]+/locations/[^/]+/environments/)?[a-z][a-z0-9-]{0,62}$", var.existing_environment))
    error_message = "Expected the name of an environment, such as team-airflow, or projects/my-project/locations/us-central1/environments/team-airflow."
  }
  validation {
    condition     = !can(regex("^projects/", var.existing_environment)) || can(regex("^projects/${var.project}/locations/${var.region}/environments/", var.existing_environment))
    error_message = "Expected an environment in the project ${var.project} and the region ${var.region}: its account launches jobs there. Set project and region to those of the environment."
  }
}

variable "existing_subnetwork" {
  description = "A subnetwork to use, of this project or, with a Shared VPC, of its host project, as projects/PROJECT/regions/REGION/subnetworks/NAME. Nothing in its network is created or changed. null: creates a network."
  type        = string
  default     = null
  validation {
    condition     = var.existing_subnetwork == null || can(regex("^projects/[^/]+/regions/[^/]+/subnetworks/[a-z][a-z0-9-]{0,62}$", var.existing_subnetwork))
    error_message = "Expected projects/PROJECT/regions/REGION/subnetworks/NAME. PROJECT is the host project of a Shared VPC."
  }
  validation {
    condition     = var.existing_subnetwork == null || can(regex("/regions/${var.region}/", var.existing_subnetwork))
    error_message = "Expected a subnetwork in the region ${var.region}, where the workers run."
  }
}

variable "existing_topics" {
  description = "Topics of this project to use instead of new ones, for prompts, predictions, or dead-letters. For example, { prompts = \"orders\" }. Their subscriptions are created here."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = length(setsubtract(keys(var.existing_topics), ["prompts", "predictions", "dead-letters"])) == 0
    error_message = "Expected topics for prompts, predictions, or dead-letters."
  }
  validation {
    condition     = alltrue([for name in values(var.existing_topics) : can(regex("^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$", name))])
    error_message = "Expected the names of topics of this project, such as orders. A topic of another project can't be used: have a subscription there push to one here."
  }
  validation {
    condition     = length(distinct(values(var.existing_topics))) == length(var.existing_topics)
    error_message = "Expected a topic of its own for each: a job that reads what it writes would never end."
  }
}

variable "kms_key" {
  description = "A key in Cloud KMS that encrypts buckets, messages, container images, tables, Airflow, and the jobs' disks: projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY. null: Google's own keys. Choose it before the first apply: later, it replaces Airflow and the registry."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "Expected projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY, without a version."
  }
  validation {
    condition     = var.kms_key == null || can(regex("/locations/${var.region}/", var.kms_key))
    error_message = "Expected a key in the region ${var.region}: Composer, buckets, and workers take no key of another location."
  }
}

variable "bucket" {
  description = "The bucket for images, prompt files, templates, and records. Default: the project ID, a hyphen, and name_prefix."
  type        = string
  default     = null
  validation {
    condition     = var.bucket == null || can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "Expected a bucket name of 3 to 63 characters, without gs://."
  }
  validation {
    condition     = var.bucket != "${var.project}-imagen" || var.name_prefix == "imagen"
    error_message = "Expected another bucket: this is that of the deployment without a prefix. Set the prefix with `export NAME_PREFIX=${var.name_prefix}` before you source scripts/00_set_environment.sh, not in terraform.tfvars alone."
  }
}

variable "image_tag" {
  description = "The tag of the images that the templates launch. scripts/build_image.sh builds it. An older tag rolls back."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag)) && !can(regex("^(latest|no-git)$|-dirty$", var.image_tag))
    error_message = "Expected a tag that names a commit, such as its hash, so that you can find the code of what runs."
  }
}

variable "model" {
  description = "The model of prompts that don't name one. null: the default of beam_jobs/catalog.json."
  type        = string
  default     = null
  validation {
    condition     = var.model == null || can(regex("^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$", var.model))
    error_message = "Expected a model ID, such as gemini-nano-banana-2.1."
  }
}

variable "worker_machine_type" {
  description = "The machine type of the Dataflow workers. They mostly wait for the model: two cores keep 256 calls in flight. docs/scale.md has sizes by images per minute."
  type        = string
  default     = "n2-standard-2"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]*-[a-z0-9-]+$", var.worker_machine_type))
    error_message = "Expected a machine type such as n2-standard-2."
  }
}

variable "allowed_projects" {
  description = "Other projects whose model endpoints, networks, and service accounts jobs may use, by ID or number. Grant the roles there yourself."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for project in var.allowed_projects : can(regex("^(([a-z][a-z0-9.-]*\\.[a-z]+:)?[a-z][a-z0-9-]{0,61}[a-z0-9]|[0-9]{1,20})$", project))])
    error_message = "Expected project IDs such as network-host, or project numbers."
  }
}

variable "allowed_buckets" {
  description = "Other buckets that jobs may read and write, for prompt files or templates. Grant the roles there yourself."
  type        = list(string)
  default     = []
  nullable    = false
  validation {
    condition     = alltrue([for bucket in var.allowed_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", bucket))])
    error_message = "Expected names of buckets, without gs://."
  }
}

locals {
  # Settings of the DAGs that have defaults. plugins/imagen_ops/settings.py explains them.
  settings_in_words = [
    # Comma-separated.
    "allowed_image_sizes", "allowed_models",
    "backfill_pool", "backfill_schedule", "console_url", "gcp_conn_id", "health_schedule", "image_metadata",
    "postprocess", "preprocess", "reference_buckets",
    # JSON: {"class": "airflow.providers.….SomeNotifier", "kwargs": {…}}. No secrets: they belong in
    # an Airflow connection.
    "notifier",
    # none, batch, or auto; true or false.
    "prefetch", "prefetch_keep_output",
  ]
  settings_in_numbers = [
    "approval_timeout_hours", "backfill_due_hours", "backfill_max_cost_usd", "backfill_max_images", "backfill_max_plan_seconds", "backfill_max_rows",
    "backfill_max_unpacked_bytes", "backfill_requests_per_minute", "backfills_at_once",
    "canary_seconds", "health_due_minutes", "max_backlog_age_seconds", "max_backlog_size", "max_failure_ratio", "max_images_per_prompt",
    "max_system_lag_seconds", "max_watermark_age_seconds", "poke_seconds", "prefetch_deadline_hours",
    "prefetch_min_saving_usd", "restarts_per_hour", "startup_seconds",
    "stream_max_images_per_day", "stream_max_images_per_hour",
  ]
}

variable "batch_inference" {
  description = "Whether backfills may order images from Vertex AI's batch inference, with the field Prefetch of their form. Set it once a model has been called in the project: the first call makes Vertex AI's service agent, which gets a role here."
  type        = bool
  default     = false
  nullable    = false
}

# Not an object type: Terraform silently drops unknown attributes of an object.
variable "settings" {
  description = "Settings of the DAGs that have defaults. plugins/imagen_ops/settings.py explains them. null keeps the default."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = length(setsubtract(keys(var.settings), concat(local.settings_in_words, local.settings_in_numbers))) == 0
    error_message = "Expected only these settings: ${join(", ", sort(concat(local.settings_in_words, local.settings_in_numbers)))}. All others follow from other variables."
  }
  validation {
    condition     = alltrue([for name in local.settings_in_numbers : can(tonumber(lookup(var.settings, name, null)))])
    error_message = "Expected numbers for ${join(", ", local.settings_in_numbers)}."
  }
}

variable "environment_size" {
  description = "The size of the Composer environment's database and other parts that Google manages: small, medium, or large."
  type        = string
  default     = "small"
  validation {
    condition     = contains(["small", "medium", "large"], var.environment_size)
    error_message = "Expected small, medium, or large."
  }
}

variable "composer_image" {
  description = "The image of the Composer environment. Without a build, Composer takes the newest when it creates the environment. Changing it upgrades the environment in place."
  type        = string
  default     = "composer-3-airflow-3.3.1"
  validation {
    condition     = can(regex("^composer-3-airflow-3\\.[0-9]+\\.[0-9]+(-build\\.[0-9]+)?$", var.composer_image))
    error_message = "Expected an image of Composer 3 with Airflow 3, such as composer-3-airflow-3.3.1, or composer-3-airflow-3.3.1-build.1. Composer 2 and Airflow 2 can't run these DAGs. To list images: `gcloud beta composer environments list-upgrades`."
  }
}

variable "airflow_config" {
  description = "Airflow options, as section-option. Composer refuses some. null removes an option that this file sets."
  type        = map(string)
  default     = {}
}

variable "callback_logs" {
  description = "Whether the log lines of callbacks, such as run_failed, reach Cloud Logging. Set it once the environment exists: if Composer refuses the Airflow option that does it, the first apply isn't the one that stops."
  type        = bool
  default     = false
  nullable    = false
}

variable "maintenance_window" {
  description = "When Composer can do maintenance: at least 12 hours a week, in UTC. The stream keeps running meanwhile."
  type = object({
    start_time = string
    end_time   = string
    recurrence = string
  })
  default = {
    start_time = "2026-01-03T00:00:00Z"
    end_time   = "2026-01-03T06:00:00Z"
    recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
  }
}

variable "metadata_retention_days" {
  description = "How many days Airflow keeps its history of runs. Their records in the bucket stay."
  type        = number
  default     = 60
  validation {
    condition     = var.metadata_retention_days >= 30 && var.metadata_retention_days <= 730
    error_message = "Expected 30 to 730 days."
  }
}

variable "snapshots" {
  description = "Whether to take a snapshot of the environment every night, into a bucket that only Composer reads."
  type        = bool
  default     = false
}

variable "web_server_ranges" {
  description = "CIDR ranges that can reach Airflow's UI. A login is required in any case. Empty: any address."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for range in var.web_server_ranges : can(cidrhost(range, 0))])
    error_message = "Expected CIDR ranges such as 203.0.113.0/24."
  }
}

variable "operators" {
  description = "Who can use Airflow and do what docs/runbook.md asks, besides project owners. For example, group:oncall@example.com."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(user|group|serviceAccount|domain):[^\\s]+$", member))])
    error_message = "Expected members such as user:somebody@example.com or group:oncall@example.com."
  }
}

variable "network_range" {
  description = "The address range of the workers' subnetwork. Each Dataflow worker takes one address, Composer two, and two more while it is upgraded. It can grow later, to a range around this one: any other needs another subnetwork, and this one can't go while Airflow is in it."
  type        = string
  default     = "10.20.0.0/22"
  validation {
    condition     = can(cidrhost(var.network_range, 0))
    error_message = "Expected a CIDR range such as 10.20.0.0/22."
  }
}

variable "worker_egress_ranges" {
  description = "Addresses beside Google's APIs that workers can connect to on port 443. For example, those of an endpoint in your network."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for range in var.worker_egress_ranges : can(cidrhost(range, 0))])
    error_message = "Expected CIDR ranges such as 10.30.0.5/32."
  }
  validation {
    condition     = length(var.worker_egress_ranges) == 0 || var.existing_subnetwork == null
    error_message = "Expected none, because existing_subnetwork is set: the rules of that network are its owners'."
  }
}

variable "prompt_folders" {
  description = "The folders of the bucket that workers can read prompt files from, each with a slash at its end."
  type        = set(string)
  default     = ["prompts/"]
  validation {
    condition     = alltrue([for folder in var.prompt_folders : can(regex("^[A-Za-z0-9][A-Za-z0-9._=/-]*/$", folder))])
    error_message = "Expected folders such as prompts/, with a slash at the end and none at the beginning."
  }
  validation {
    condition     = alltrue([for folder in var.prompt_folders : !can(regex("^(templates|references|records|keys|jobs|prefetch|images|dead-letters|builds|staging|temp)/", folder))])
    error_message = "Expected folders of your own: templates/, references/, records/, keys/, jobs/, prefetch/, images/, dead-letters/, builds/, staging/, and temp/ have other readers."
  }
}

variable "notification_emails" {
  description = "Email addresses that get alerts. Empty: alerts appear in the console only."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for email in var.notification_emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "Expected email addresses."
  }
}

variable "runbook_url" {
  description = "The URL where people who get alerts can read docs/runbook.md."
  type        = string
  default     = "docs/runbook.md"
}

variable "dead_letters_per_10_minutes" {
  description = "Maximum number of dead letters in 10 minutes. More than this raises an alert."
  type        = number
  default     = 100
  validation {
    condition     = var.dead_letters_per_10_minutes > 0
    error_message = "Expected a number above 0."
  }
}

variable "bigquery_dataset" {
  description = "A dataset in BigQuery to create, into which Pub/Sub writes predictions and dead letters. null: none."
  type        = string
  default     = null
  validation {
    condition     = var.bigquery_dataset == null || can(regex("^[A-Za-z0-9_]{1,255}$", var.bigquery_dataset))
    error_message = "Expected a dataset name such as imagen, of up to 255 letters, digits, and underscores, without the project."
  }
}

locals {
  # In days. Pub/Sub keeps messages for up to 31 days.
  retention_limits = { prompts = 31, predictions = 31, dead_letters = 31, jobs = 3650, temporary = 3650, snapshots = 3650 }
  retention = merge(
    { prompts = 31, predictions = 7, dead_letters = 31, jobs = 90, temporary = 30, snapshots = 30 },
    var.retention,
  )
}

# Not an object type, as above.
variable "retention" {
  description = "How many days things are kept: prompts, predictions, and dead_letters that nobody acknowledged (up to 31), plans and reports of jobs, temporary files, and snapshots of Airflow. For example, { predictions = 14 }. Images stay: docs/deploying.md says how to delete them."
  type        = map(number)
  default     = {}
  nullable    = false
  validation {
    condition     = length(setsubtract(keys(var.retention), keys(local.retention_limits))) == 0
    error_message = "Expected only these: ${join(", ", sort(keys(local.retention_limits)))}."
  }
  validation {
    condition     = alltrue([for name, days in var.retention : days >= 1 && days <= lookup(local.retention_limits, name, 0) && floor(days) == days])
    error_message = "Expected whole days, from 1 to 31 for messages, and to 3650 for the others."
  }
}

variable "monthly_budget" {
  description = "What the project may cost a month, in the currency of the billing account: at 50, 90, and 100 percent, and when the month is forecast to exceed it, notification_emails and the billing account's administrators get an email. Nothing stops. Needs billing_account. null: no budget."
  type        = number
  default     = null
  validation {
    condition     = var.monthly_budget == null ? true : var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "Expected a whole amount, at least 1."
  }
  validation {
    condition     = var.monthly_budget == null || var.billing_account != null
    error_message = "Expected billing_account to be set too: a budget belongs to a billing account."
  }
}

variable "billing_account" {
  description = "The ID of the project's billing account. Only monthly_budget needs it, and the right to create budgets there (roles/billing.costsManager)."
  type        = string
  default     = null
  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "Expected an ID such as 012345-6789AB-CDEF01. To see it: `gcloud billing projects describe PROJECT`."
  }
}

variable "bigquery_retention_days" {
  description = "How many days the tables in BigQuery keep a row."
  type        = number
  default     = 365
  validation {
    condition     = var.bigquery_retention_days >= 1 && var.bigquery_retention_days <= 3650
    error_message = "Expected 1 to 3650 days."
  }
}

variable "signed_url_hours" {
  description = "For how many hours predictions have URLs by which anybody can read their images. Lets the workers' account sign. null: predictions have none."
  type        = number
  default     = null
  validation {
    condition     = var.signed_url_hours == null ? true : var.signed_url_hours > 0 && var.signed_url_hours <= 168
    error_message = "Expected over 0 and at most 168 hours, or null. Cloud Storage's signatures end after 7 days."
  }
}

variable "settle_seconds" {
  description = "How long to wait after APIs are enabled and after roles are granted: both hold after minutes only, https://cloud.google.com/iam/docs/access-change-propagation."
  type        = number
  default     = 180
  validation {
    condition     = var.settle_seconds >= 0 && var.settle_seconds <= 900 && floor(var.settle_seconds) == var.settle_seconds
    error_message = "Expected 0 to 900 seconds."
  }
}

variable "keep_data" {
  description = "Whether `terraform destroy` stops at a bucket that isn't empty, and at tables. If false, it deletes the contents."
  type        = bool
  default     = true
}

# Names. All others begin with these.

locals {
  name = var.name_prefix
  # The deployment named imagen, which is the default, has topics as all examples name them: prompts.
  topic_prefix = var.name_prefix == "imagen" ? "" : "${var.name_prefix}-"
  # IDs of custom roles have no hyphens.
  role_prefix = replace(var.name_prefix, "-", "_")

  # What is created, and what a team has already.
  own_environment = var.existing_environment == null ? 1 : 0
  own_network     = var.existing_subnetwork == null ? 1 : 0
  with_key        = var.kms_key == null ? 0 : 1
}

# The APIs.

resource "google_project_service" "needed" {
  for_each = toset(concat(
    var.bigquery_dataset == null ? [] : ["bigquery.googleapis.com"],
    var.monthly_budget == null ? [] : ["billingbudgets.googleapis.com"],
    var.kms_key == null ? [] : ["cloudkms.googleapis.com"],
    var.signed_url_hours == null ? [] : ["iamcredentials.googleapis.com"],
    [
      "aiplatform.googleapis.com",
      "artifactregistry.googleapis.com",
      "cloudbuild.googleapis.com",
      "cloudresourcemanager.googleapis.com",
      "composer.googleapis.com",
      "compute.googleapis.com",
      "dataflow.googleapis.com",
      "dns.googleapis.com",
      "iam.googleapis.com",
      "logging.googleapis.com",
      "monitoring.googleapis.com",
      "pubsub.googleapis.com",
      "storage.googleapis.com",
  ]))
  service = each.key
  # Something else in the project can use them.
  disable_on_destroy = false
}

# An API answers "not enabled" for a while after it was enabled, and service agents come later still.
resource "terraform_data" "apis_work" {
  triggers_replace = keys(google_project_service.needed)
  provisioner "local-exec" {
    command = "sleep ${var.settle_seconds}"
  }
}

# The network. No machine has a public address.

data "google_compute_subnetwork" "existing" {
  count   = 1 - local.own_network
  project = split("/", var.existing_subnetwork)[1]
  region  = var.region
  name    = split("/", var.existing_subnetwork)[5]
  lifecycle {
    postcondition {
      condition     = self.private_ip_google_access
      error_message = "${var.existing_subnetwork} doesn't have Private Google Access, and workers have no other way to Google's APIs. Have it enabled: `gcloud compute networks subnets update ${self.name} --region=${var.region} --project=${self.project} --enable-private-ip-google-access`."
    }
  }
}

locals {
  network_host = var.existing_subnetwork == null ? var.project : split("/", var.existing_subnetwork)[1]
  network      = one(concat(google_compute_network.imagen[*].id, data.google_compute_subnetwork.existing[*].network))
  # As Dataflow wants it: a full URL where the network is a host project's,
  # https://cloud.google.com/dataflow/docs/guides/specifying-networks.
  subnetwork = var.existing_subnetwork == null ? "regions/${var.region}/subnetworks/${local.name}" : "https://www.googleapis.com/compute/v1/${var.existing_subnetwork}"
}

resource "google_compute_network" "imagen" {
  count                   = local.own_network
  name                    = local.name
  auto_create_subnetworks = false
  depends_on              = [terraform_data.apis_work]
}

resource "google_compute_subnetwork" "imagen" {
  count         = local.own_network
  name          = local.name
  network       = google_compute_network.imagen[0].id
  region        = var.region
  ip_cidr_range = var.network_range
  # Traffic to Google's APIs and the registry stays in Google's network. All other traffic, which is
  # Airflow's alone, uses NAT.
  private_ip_google_access = true
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "imagen" {
  count   = local.own_network
  name    = local.name
  network = google_compute_network.imagen[0].id
  region  = var.region
}

resource "google_compute_router_nat" "imagen" {
  count                              = local.own_network
  name                               = local.name
  router                             = google_compute_router.imagen[0].name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  subnetwork {
    name                    = google_compute_subnetwork.imagen[0].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# A job's workers exchange data on these ports, https://cloud.google.com/dataflow/docs/guides/routes-firewall.
resource "google_compute_firewall" "workers" {
  count                   = local.own_network
  name                    = "${local.name}-workers"
  network                 = google_compute_network.imagen[0].id
  direction               = "INGRESS"
  source_service_accounts = [google_service_account.worker.email]
  target_service_accounts = [google_service_account.worker.email]
  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

# What workers can connect to: Google's APIs, each other, and nothing else. The rules apply to machines
# that run as the worker's account, so that they include the launcher's, which has no network tag. A
# firewall lets name look-ups and the metadata server pass in any case.
resource "google_compute_firewall" "workers_reach_google" {
  count                   = local.own_network
  name                    = "${local.name}-workers-reach-google"
  network                 = google_compute_network.imagen[0].id
  direction               = "EGRESS"
  priority                = 900
  destination_ranges      = concat([local.google_apis], var.worker_egress_ranges)
  target_service_accounts = [google_service_account.worker.email]
  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "workers_reach_workers" {
  count                   = local.own_network
  name                    = "${local.name}-workers-reach-workers"
  network                 = google_compute_network.imagen[0].id
  direction               = "EGRESS"
  priority                = 900
  destination_ranges      = [var.network_range]
  target_service_accounts = [google_service_account.worker.email]
  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

resource "google_compute_firewall" "workers_reach_nothing_else" {
  count                   = local.own_network
  name                    = "${local.name}-workers-reach-nothing-else"
  network                 = google_compute_network.imagen[0].id
  direction               = "EGRESS"
  priority                = 1000
  destination_ranges      = ["0.0.0.0/0"]
  target_service_accounts = [google_service_account.worker.email]
  deny {
    protocol = "all"
  }
  log_config {
    metadata = "INCLUDE_ALL_METADATA"
  }
}

# private.googleapis.com: the addresses of Google's APIs that no route to the internet leads to,
# https://cloud.google.com/vpc/docs/configure-private-google-access. Not restricted.googleapis.com:
# Composer's own components use the private ones, and find these zones too. gcr.io has the images
# of Dataflow's own programs, pkg.dev ours.
locals {
  google_apis    = "199.36.153.8/30"
  google_domains = { googleapis = "googleapis.com.", registry = "pkg.dev.", old-registry = "gcr.io." }
}

resource "google_dns_managed_zone" "google" {
  for_each    = local.own_network == 1 ? local.google_domains : {}
  name        = "${local.name}-${each.key}"
  dns_name    = each.value
  description = "Google's APIs at addresses in Google's network"
  visibility  = "private"
  private_visibility_config {
    networks {
      network_url = google_compute_network.imagen[0].id
    }
  }
  depends_on = [terraform_data.apis_work]
}

resource "google_dns_record_set" "google" {
  for_each     = local.own_network == 1 ? local.google_domains : {}
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = each.key == "googleapis" ? "private.${each.value}" : each.value
  type         = "A"
  ttl          = 300
  rrdatas      = [for host in range(4) : cidrhost(local.google_apis, host)]
}

resource "google_dns_record_set" "google_hosts" {
  for_each     = local.own_network == 1 ? local.google_domains : {}
  managed_zone = google_dns_managed_zone.google[each.key].name
  name         = "*.${each.value}"
  type         = "CNAME"
  ttl          = 300
  rrdatas      = [google_dns_record_set.google[each.key].name]
}

# Service accounts.

data "google_composer_environment" "existing" {
  count  = 1 - local.own_environment
  name   = reverse(split("/", var.existing_environment))[0]
  region = var.region
  lifecycle {
    postcondition {
      condition     = can(regex("^composer-3-airflow-3\\.", self.config[0].software_config[0].image_version))
      error_message = "The environment ${self.name} has ${try(self.config[0].software_config[0].image_version, "no image")}, and these DAGs need Composer 3 with Airflow 3. Upgrade it, or leave existing_environment out: then a new environment is created."
    }
    postcondition {
      condition     = self.config[0].software_config[0].web_server_plugins_mode != "DISABLED"
      error_message = "The environment ${self.name} has its web server's plugins disabled, and this project's page is one: `gcloud composer environments update ${self.name} --location=${var.region} --support-web-server-plugins`."
    }
  }
}

resource "google_service_account" "composer" {
  count        = local.own_environment
  account_id   = "${local.name}-composer"
  display_name = "Airflow: starts, watches, and drains the jobs"
  depends_on   = [terraform_data.apis_work]
}

resource "google_service_account" "worker" {
  account_id   = "${local.name}-worker"
  display_name = "Dataflow workers: read prompts, call the model, store images"
  depends_on   = [terraform_data.apis_work]
}

resource "google_service_account" "build" {
  account_id   = "${local.name}-build"
  display_name = "Cloud Build: builds the container images of the jobs"
  depends_on   = [terraform_data.apis_work]
}

# Roles. Granted on the project only where a single resource is not possible.

# Allows calling a model, asking an endpoint of yours for its host, and nothing else of Vertex AI. The
# worker needs it, and Composer: counting tokens, which a start asks a model for, needs the permission
# to call it. roles/aiplatform.user also allows training and deleting.
resource "google_project_iam_custom_role" "predictor" {
  role_id     = "${local.role_prefix}_predictor${var.role_suffix}"
  title       = "Calls models on Vertex AI"
  permissions = ["aiplatform.endpoints.get", "aiplatform.endpoints.predict"]
  depends_on  = [terraform_data.apis_work]
}

# Allows creating batch jobs, and ending them. roles/aiplatform.user also allows training and deleting.
resource "google_project_iam_custom_role" "batch" {
  count   = local.with_batch
  role_id = "${local.role_prefix}_batch${var.role_suffix}"
  title   = "Orders images from Vertex AI's batch inference"
  permissions = [
    "aiplatform.batchPredictionJobs.cancel",
    "aiplatform.batchPredictionJobs.create",
    "aiplatform.batchPredictionJobs.get",
    "aiplatform.batchPredictionJobs.list",
  ]
  depends_on = [terraform_data.apis_work]
}

# roles/dataflow.worker without its permissions on Cloud Storage, which it has on every bucket of the
# project: to read each object, Composer's among them, and to create objects, such as a DAG.
resource "google_project_iam_custom_role" "worker" {
  role_id = "${local.role_prefix}_worker${var.role_suffix}"
  title   = "Works for Dataflow, without access to Cloud Storage"
  permissions = [
    "autoscaling.sites.readRecommendations",
    "autoscaling.sites.writeMetrics",
    "autoscaling.sites.writeState",
    "compute.instanceGroupManagers.update",
    "compute.instances.delete",
    "compute.instances.setDiskAutoDelete",
    "dataflow.jobs.get",
    "dataflow.shuffle.read",
    "dataflow.shuffle.write",
    "dataflow.streamingWorkItems.ImportState",
    "dataflow.streamingWorkItems.commitWork",
    "dataflow.streamingWorkItems.getData",
    "dataflow.streamingWorkItems.getWork",
    "dataflow.streamingWorkItems.getWorkerMetadata",
    "dataflow.workItems.lease",
    "dataflow.workItems.sendMessage",
    "dataflow.workItems.update",
    "logging.logEntries.create",
    "logging.logEntries.route",
    "monitoring.timeSeries.create",
  ]
  depends_on = [terraform_data.apis_work]
}

# Sees that a bucket exists. roles/storage.legacyBucketReader also lists all that is in it.
resource "google_project_iam_custom_role" "bucket" {
  role_id     = "${local.role_prefix}_bucket${var.role_suffix}"
  title       = "Sees that a bucket exists, and how it is configured"
  permissions = ["storage.buckets.get"]
  depends_on  = [terraform_data.apis_work]
}

# What the runbook's commands need and no narrow predefined role has: roles/dataflow.developer also
# starts jobs and replaces what runs, and roles/compute.viewer shows every machine of the project.
resource "google_project_iam_custom_role" "operator" {
  role_id = "${local.role_prefix}_operator${var.role_suffix}"
  title   = "Watches and ends jobs, uses Airflow's command line, and reads a region's quotas"
  permissions = [
    "composer.environments.executeAirflowCommand",
    "compute.regions.get",
    "dataflow.jobs.cancel",
    "dataflow.jobs.get",
    "dataflow.jobs.list",
    "dataflow.messages.list",
    "dataflow.metrics.get",
  ]
  depends_on = [terraform_data.apis_work]
}

locals {
  # An existing environment's DAGs run as its account.
  composer = one(concat(google_service_account.composer[*].member, [for one in data.google_composer_environment.existing : "serviceAccount:${one.config[0].node_config[0].service_account}"]))
  worker   = google_service_account.worker.member
  build    = google_service_account.build.member

  with_batch = var.batch_inference ? 1 : 0
  # Vertex AI's own account in this project, which reads requests and writes what a batch job makes:
  # https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-from-cloud-storage
  vertex = "serviceAccount:service-${local.project_number}@gcp-sa-aiplatform.iam.gserviceaccount.com"

  # Composer requires roles/composer.worker, which already includes some of the roles below. The DAGs'
  # roles are granted by name all the same, so that nothing depends on that.
  on_project = {
    composer_works         = { member = local.composer, role = "roles/composer.worker" }
    composer_runs_jobs     = { member = local.composer, role = "roles/dataflow.developer" }
    composer_reads_metrics = { member = local.composer, role = "roles/monitoring.viewer" }
    composer_asks_models   = { member = local.composer, role = google_project_iam_custom_role.predictor.id }
    worker_works           = { member = local.worker, role = google_project_iam_custom_role.worker.id }
    worker_calls_models    = { member = local.worker, role = google_project_iam_custom_role.predictor.id }
    build_writes_its_log   = { member = local.build, role = "roles/logging.logWriter" }
  }
  on_bucket = {
    composer_sees_it = { member = local.composer, role = google_project_iam_custom_role.bucket.id }
    worker_sees_it   = { member = local.worker, role = google_project_iam_custom_role.bucket.id }
  }
  # On objects whose names begin with `below`, and on lists of them; with `ending`, only on objects
  # whose names also end so. Who may create objects and not delete them can't replace them either.
  on_objects = merge({
    composer_reads_templates  = { member = local.composer, role = "roles/storage.objectViewer", below = "templates/" }
    composer_shows_images     = { member = local.composer, role = "roles/storage.objectViewer", below = "images/" }
    composer_shows_references = { member = local.composer, role = "roles/storage.objectViewer", below = "references/" }
    composer_keeps_records    = { member = local.composer, role = "roles/storage.objectUser", below = "records/" }
    composer_tells_jobs       = { member = local.composer, role = "roles/storage.objectUser", below = "jobs/" }
    composer_prefetches       = { member = local.composer, role = "roles/storage.objectUser", below = "prefetch/" }
    composer_changes_keys     = { member = local.composer, role = "roles/storage.objectUser", below = "keys/" }
    composer_archives         = { member = local.composer, role = "roles/storage.objectCreator", below = "dead-letters/" }
    composer_reads_archive    = { member = local.composer, role = "roles/storage.objectViewer", below = "dead-letters/" }
    worker_creates_images     = { member = local.worker, role = "roles/storage.objectCreator", below = "images/" }
    worker_finds_images       = { member = local.worker, role = "roles/storage.objectViewer", below = "images/" }
    worker_claims_prompts     = { member = local.worker, role = "roles/storage.objectUser", below = "images/", ending = ".claim" }
    worker_tries_to_write     = { member = local.worker, role = "roles/storage.objectUser", below = "images/write-checks/" }
    worker_reads_keys         = { member = local.worker, role = "roles/storage.objectViewer", below = "keys/" }
    worker_reads_references   = { member = local.worker, role = "roles/storage.objectViewer", below = "references/" }
    worker_reads_templates    = { member = local.worker, role = "roles/storage.objectViewer", below = "templates/prompts/" }
    worker_reports            = { member = local.worker, role = "roles/storage.objectUser", below = "jobs/" }
    worker_takes_batches      = { member = local.worker, role = "roles/storage.objectUser", below = "prefetch/" }
    worker_stages_its_program = { member = local.worker, role = "roles/storage.objectUser", below = "staging/" }
    worker_keeps_temporaries  = { member = local.worker, role = "roles/storage.objectUser", below = "temp/" }
    build_reads_the_source    = { member = local.build, role = "roles/storage.objectViewer", below = "builds/" }
    build_lists_the_parts     = { member = local.build, role = "roles/storage.objectCreator", below = "templates/sbom/" }
    }, {
    for pair in setproduct(["composer", "worker"], var.prompt_folders) : "${pair[0]}_reads_${pair[1]}" => {
      member = pair[0] == "worker" ? local.worker : local.composer
      role   = "roles/storage.objectViewer"
      below  = pair[1]
    }
  })
  on_topics = {
    composer_sends_canaries    = { member = local.composer, role = "roles/pubsub.publisher", on = "prompts" }
    composer_sees_prompts      = { member = local.composer, role = "roles/pubsub.viewer", on = "prompts" }
    composer_sees_predictions  = { member = local.composer, role = "roles/pubsub.viewer", on = "predictions" }
    composer_sees_dead_letters = { member = local.composer, role = "roles/pubsub.viewer", on = "dead-letters" }
    worker_publishes           = { member = local.worker, role = "roles/pubsub.publisher", on = "predictions" }
    worker_sees_predictions    = { member = local.worker, role = "roles/pubsub.viewer", on = "predictions" }
    worker_gives_up            = { member = local.worker, role = "roles/pubsub.publisher", on = "dead-letters" }
    worker_sees_dead_letters   = { member = local.worker, role = "roles/pubsub.viewer", on = "dead-letters" }
  }
  on_subscriptions = {
    composer_sees_prompts        = { member = local.composer, role = "roles/pubsub.viewer", on = "prompts-sub" }
    composer_sees_predictions    = { member = local.composer, role = "roles/pubsub.viewer", on = "predictions-sub" }
    composer_sees_canaries       = { member = local.composer, role = "roles/pubsub.viewer", on = "canary-sub" }
    composer_takes_canaries      = { member = local.composer, role = "roles/pubsub.subscriber", on = "canary-sub" }
    composer_sees_dead_letters   = { member = local.composer, role = "roles/pubsub.viewer", on = "dead-letters-sub" }
    composer_takes_dead_letters  = { member = local.composer, role = "roles/pubsub.subscriber", on = "dead-letters-sub" }
    worker_takes_prompts         = { member = local.worker, role = "roles/pubsub.subscriber", on = "prompts-sub" }
    worker_sees_the_subscription = { member = local.worker, role = "roles/pubsub.viewer", on = "prompts-sub" }
  }

  # People: what the commands of docs/runbook.md need. People who apply or build need more than this.
  operators_on_project = {
    use_airflow     = { role = "roles/composer.user" }
    run_the_service = { role = google_project_iam_custom_role.operator.id }
    read_logs       = { role = "roles/logging.viewer" }
    read_metrics    = { role = "roles/monitoring.viewer" }
  }
  # Nothing on predictions-sub: a message that an operator pulls there does not reach its consumer.
  operators_on_subscriptions = {
    look_at_prompts      = { role = "roles/pubsub.subscriber", on = "prompts-sub" }
    look_at_dead_letters = { role = "roles/pubsub.subscriber", on = "dead-letters-sub" }
    see_canaries_way     = { role = "roles/pubsub.viewer", on = "canary-sub" }
  }
}

resource "google_project_iam_member" "granted" {
  # checkov:skip=CKV_GCP_49: roles/composer.worker and roles/dataflow.developer can be granted on a project only; neither role can act as another account
  # An existing environment's account has this role already.
  for_each = { for name, grant in local.on_project : name => grant if name != "composer_works" || local.own_environment == 1 }
  project  = var.project
  member   = each.value.member
  role     = each.value.role
}

# A grant holds after minutes, and an environment whose account lacks its roles fails after 25 of them.
resource "terraform_data" "composer_may_start" {
  count            = local.own_environment
  triggers_replace = [for grant in google_project_iam_member.granted : "${grant.member} ${grant.role}" if grant.member == local.composer]
  provisioner "local-exec" {
    command = "sleep ${var.settle_seconds}"
  }
}

resource "google_project_iam_member" "composer_orders_batches" {
  count   = local.with_batch
  project = var.project
  member  = local.composer
  role    = google_project_iam_custom_role.batch[0].id
}

resource "google_project_iam_member" "operators" {
  for_each = { for pair in setproduct(toset(var.operators), keys(local.operators_on_project)) :
    join(" ", pair) => { member = pair[0], role = local.operators_on_project[pair[1]].role }
  }
  project    = var.project
  member     = each.value.member
  role       = each.value.role
  depends_on = [terraform_data.apis_work]
}

resource "google_storage_bucket_iam_member" "granted" {
  for_each = local.on_bucket
  bucket   = google_storage_bucket.imagen.name
  member   = each.value.member
  role     = each.value.role
}

# Conditions, not managed folders: they hold for lists too, by the prefix that a request names, and a
# folder that somebody deletes takes no grant with it.
resource "google_storage_bucket_iam_member" "on_objects" {
  for_each = local.on_objects
  bucket   = google_storage_bucket.imagen.name
  member   = each.value.member
  role     = each.value.role
  condition {
    title = "Only ${each.value.below}${try("*${each.value.ending}", "")}"
    expression = try(
      join(" && ", [
        "resource.name.startsWith(\"projects/_/buckets/${local.bucket}/objects/${each.value.below}\")",
        "resource.name.endsWith(\"${each.value.ending}\")",
      ]),
      join(" || ", [
        "resource.name.startsWith(\"projects/_/buckets/${local.bucket}/objects/${each.value.below}\")",
        "api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"${each.value.below}\")",
      ])
    )
  }
}

resource "google_storage_bucket_iam_member" "vertex_works_on_batches" {
  count  = local.with_batch
  bucket = google_storage_bucket.imagen.name
  member = local.vertex
  role   = "roles/storage.objectUser"
  condition {
    title = "Only prefetch/"
    expression = join(" || ", [
      "resource.name.startsWith(\"projects/_/buckets/${local.bucket}/objects/prefetch/\")",
      "api.getAttribute(\"storage.googleapis.com/objectListPrefix\", \"\").startsWith(\"prefetch/\")",
    ])
  }
}

resource "google_storage_bucket_iam_member" "composer_keeps_snapshots" {
  count  = local.own_environment
  bucket = google_storage_bucket.snapshots[0].name
  member = local.composer
  role   = "roles/storage.objectUser"
}

# On the ID of a topic or subscription, not on its name: one that is replaced has lost its members, and
# only a changed ID makes Terraform grant them again.
resource "google_pubsub_topic_iam_member" "granted" {
  for_each = local.on_topics
  topic    = local.topics[each.value.on].id
  member   = each.value.member
  role     = each.value.role
}

resource "google_pubsub_subscription_iam_member" "granted" {
  for_each     = local.on_subscriptions
  subscription = google_pubsub_subscription.imagen[each.value.on].id
  member       = each.value.member
  role         = each.value.role
}

resource "google_storage_bucket_iam_member" "operators_read" {
  for_each = toset(var.operators)
  bucket   = google_storage_bucket.imagen.name
  member   = each.key
  role     = "roles/storage.objectViewer"
}

resource "google_pubsub_subscription_iam_member" "operators" {
  for_each = { for pair in setproduct(toset(var.operators), keys(local.operators_on_subscriptions)) :
    join(" ", pair) => merge({ member = pair[0] }, local.operators_on_subscriptions[pair[1]])
  }
  subscription = google_pubsub_subscription.imagen[each.value.on].id
  member       = each.value.member
  role         = each.value.role
}

resource "google_artifact_registry_repository_iam_member" "operators_see_tags" {
  for_each   = toset(var.operators)
  repository = google_artifact_registry_repository.imagen.name
  location   = var.region
  member     = each.key
  role       = "roles/artifactregistry.reader"
}

# Airflow launches jobs whose workers run as another account.
resource "google_service_account_iam_member" "composer_launches_as_worker" {
  service_account_id = google_service_account.worker.name
  member             = local.composer
  role               = "roles/iam.serviceAccountUser"
}

# A worker has no key, so IAM signs URLs in its name: optional.
resource "google_service_account_iam_member" "worker_signs_urls" {
  count              = var.signed_url_hours == null ? 0 : 1
  service_account_id = google_service_account.worker.name
  member             = local.worker
  role               = "roles/iam.serviceAccountTokenCreator"
}

resource "google_artifact_registry_repository_iam_member" "worker_pulls" {
  repository = google_artifact_registry_repository.imagen.name
  location   = var.region
  member     = local.worker
  role       = "roles/artifactregistry.reader"
}

resource "google_artifact_registry_repository_iam_member" "build_pushes" {
  repository = google_artifact_registry_repository.imagen.name
  location   = var.region
  member     = local.build
  role       = "roles/artifactregistry.writer"
}

# The key, if there is one. Whoever owns it grants its use, because that may be in another project.

data "google_kms_crypto_key_iam_policy" "key" {
  count         = local.with_key
  crypto_key_id = var.kms_key
}

data "google_kms_key_ring_iam_policy" "ring" {
  count       = local.with_key
  key_ring_id = split("/cryptoKeys/", var.kms_key)[0]
}

locals {
  project_number = join("", data.google_project.imagen[*].number)
  # Google's own accounts in this project that encrypt with it, as each product's page on CMEK names them.
  # Google's Terraform modules have the same:
  # https://github.com/GoogleCloudPlatform/cloud-foundation-fabric/blob/master/modules/project/cmek.tf
  key_users = local.with_key == 0 ? [] : [for account in concat([
    # https://cloud.google.com/storage/docs/encryption/using-customer-managed-keys
    "service-${local.project_number}@gs-project-accounts.iam.gserviceaccount.com",
    # https://cloud.google.com/pubsub/docs/encryption
    "service-${local.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com",
    # https://cloud.google.com/artifact-registry/docs/cmek
    "service-${local.project_number}@gcp-sa-artifactregistry.iam.gserviceaccount.com",
    # Both for jobs: https://cloud.google.com/dataflow/docs/guides/customer-managed-encryption-keys
    "service-${local.project_number}@compute-system.iam.gserviceaccount.com",
    "service-${local.project_number}@dataflow-service-producer-prod.iam.gserviceaccount.com",
    ],
    # Composer 3 needs this one and Cloud Storage's:
    # https://cloud.google.com/composer/docs/composer-3/configure-cmek-encryption
    local.own_environment == 0 ? [] : ["service-${local.project_number}@cloudcomposer-accounts.iam.gserviceaccount.com"],
    # https://cloud.google.com/bigquery/docs/customer-managed-encryption
    var.bigquery_dataset == null ? [] : ["bq-${local.project_number}@bigquery-encryption.iam.gserviceaccount.com"],
  ) : "serviceAccount:${account}"]
  may_use_key = flatten([
    for policy in concat(data.google_kms_crypto_key_iam_policy.key[*].policy_data, data.google_kms_key_ring_iam_policy.ring[*].policy_data) : [
      for binding in try(jsondecode(policy).bindings, []) : binding.members if binding.role == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    ]
  ])
  may_not_use_key = setsubtract(local.key_users, local.may_use_key)
}

# Storage.

locals {
  bucket = coalesce(var.bucket, "${var.project}-${local.name}")
}

# images/, prompts/, templates/, records/, jobs/, prefetch/, keys/, dead-letters/, staging/, temp/, builds/
resource "google_storage_bucket" "imagen" {
  # checkov:skip=CKV_GCP_78: an image's name follows from its prompt, so no name is written twice; soft delete restores what was deleted or replaced
  # checkov:skip=CKV_GCP_62: Cloud Storage's audit logs, where the project enables them, say who read an image
  name                        = local.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.keep_data
  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }
  soft_delete_policy {
    retention_duration_seconds = 7 * 24 * 3600
  }
  # Not staging/: the workers of a streaming job read from there as long as it runs.
  lifecycle_rule {
    condition {
      age            = local.retention.temporary
      matches_prefix = ["temp/", "builds/"]
    }
    action {
      type = "Delete"
    }
  }
  # Plans, reports, and ledgers of budgets. A run that old is not continued.
  lifecycle_rule {
    condition {
      age            = local.retention.jobs
      matches_prefix = ["jobs/"]
    }
    action {
      type = "Delete"
    }
  }
  # What is ordered from batch inference, and its output that nobody has deleted. Vertex AI ends a batch
  # job after four days at the latest.
  lifecycle_rule {
    condition {
      age            = 30
      matches_prefix = ["prefetch/"]
    }
    action {
      type = "Delete"
    }
  }
  # Deletes no image: only the index by time, which the jobs write beside them.
  lifecycle_rule {
    condition {
      age            = 14
      matches_prefix = ["images/recent/"]
    }
    action {
      type = "Delete"
    }
  }
  # Claims on prompts. A worker renews one every 20 s, so that one of yesterday means nothing.
  lifecycle_rule {
    condition {
      age            = 1
      matches_prefix = ["images/"]
      matches_suffix = [".claim"]
    }
    action {
      type = "Delete"
    }
  }
  # What custom functions have made of prompts: for as long as a prompt can wait, and then its dead letter.
  lifecycle_rule {
    condition {
      age            = 62
      matches_prefix = ["images/preprocessed/"]
    }
    action {
      type = "Delete"
    }
  }
  # As long as the page looks back: plugins/imagen_ops/ui/index_reader.py.
  lifecycle_rule {
    condition {
      age            = 62
      matches_prefix = ["images/index/"]
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
  depends_on = [terraform_data.apis_work]
  lifecycle {
    precondition {
      condition     = length(local.may_not_use_key) == 0
      error_message = "Neither the policy of ${coalesce(var.kms_key, "the key")} nor that of its key ring grants roles/cloudkms.cryptoKeyEncrypterDecrypter to ${join(", ", local.may_not_use_key)}. Grant it to each: `gcloud kms keys add-iam-policy-binding KEY --keyring=RING --location=${var.region} --member=MEMBER --role=roles/cloudkms.cryptoKeyEncrypterDecrypter`. If Google says that an account doesn't exist, docs/deploying.md says how to create it."
    }
  }
}

# Snapshots of Airflow's database. It has the connections, so nobody but Composer reads here.
resource "google_storage_bucket" "snapshots" {
  # checkov:skip=CKV_GCP_78: a snapshot is never written twice; soft delete restores what was deleted
  # checkov:skip=CKV_GCP_62: only Composer uses it
  count                       = local.own_environment
  name                        = "${local.bucket}-snapshots"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.keep_data
  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }
  lifecycle_rule {
    condition {
      age = local.retention.snapshots
    }
    action {
      type = "Delete"
    }
  }
  depends_on = [terraform_data.apis_work]
}

# Composer's bucket: dags/, plugins/, logs. Created here so that it goes when the environment goes.
resource "google_storage_bucket" "composer" {
  # checkov:skip=CKV_GCP_78: its contents come from the repository
  # checkov:skip=CKV_GCP_62: only Airflow and Terraform use it
  count                       = local.own_environment
  name                        = "${local.bucket}-composer"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }
  depends_on = [terraform_data.apis_work]
}

# Messages.

locals {
  days = 24 * 3600
  # Each subscription's topic, filter, and how long it keeps messages that nobody acknowledged. Canaries
  # are health probes, so consumers of predictions should not see them.
  subscriptions = {
    prompts-sub      = { topic = "prompts", filter = "", keep = local.retention.prompts * local.days }
    predictions-sub  = { topic = "predictions", filter = "NOT attributes:canary", keep = local.retention.predictions * local.days }
    canary-sub       = { topic = "predictions", filter = "attributes:canary", keep = local.days }
    dead-letters-sub = { topic = "dead-letters", filter = "", keep = local.retention.dead_letters * local.days }
  }
  topics = merge(
    { for name, topic in google_pubsub_topic.imagen : name => { id = topic.id, name = topic.name } },
    { for name, topic in data.google_pubsub_topic.existing : name => { id = topic.id, name = topic.name } },
  )
}

data "google_pubsub_topic" "existing" {
  for_each = var.existing_topics
  name     = each.value
}

resource "google_pubsub_topic" "imagen" {
  # checkov:skip=CKV_GCP_83: Google's own keys encrypt the messages unless kms_key is set, and none is a secret
  for_each     = setsubtract([for subscription in local.subscriptions : subscription.topic], keys(var.existing_topics))
  name         = "${local.topic_prefix}${each.key}"
  kms_key_name = var.kms_key
  depends_on   = [terraform_data.apis_work]
}

resource "google_pubsub_subscription" "imagen" {
  for_each = local.subscriptions
  name     = "${local.topic_prefix}${each.key}"
  topic    = local.topics[each.value.topic].id
  filter   = each.value.filter
  # Of prompts, the longest that there is: a prompt takes up to 15 minutes, and one whose deadline passes
  # is delivered again, and its images may be paid twice. Runners extend it, but should not have to:
  # https://cloud.google.com/dataflow/docs/concepts/streaming-with-cloud-pubsub.
  ack_deadline_seconds       = each.key == "prompts-sub" ? 600 : 60
  message_retention_duration = "${each.value.keep}s"
  # Never expires: a subscription that nobody reads for a month still collects messages.
  expiration_policy {
    ttl = ""
  }
}

# Rows in BigQuery: optional. Pub/Sub writes them itself, so no job knows of it.

locals {
  # The fields of docs/schemas/, each column with the type that holds what messages have. All columns can
  # be null, so that a column can be added for a new field. Dead letters say no time: their partitions
  # are of the day on which they arrive.
  rows = {
    predictions = {
      topic  = "predictions"
      filter = local.subscriptions["predictions-sub"].filter
      day_of = "created_at"
      columns = [
        { name = "schema", type = "STRING" },
        { name = "prompt_id", type = "STRING" },
        { name = "deduplication_key", type = "STRING" },
        { name = "digest", type = "STRING" },
        { name = "prompt", type = "STRING" },
        { name = "images", type = "STRING", mode = "REPEATED" },
        { name = "model", type = "STRING" },
        { name = "source", type = "STRING" },
        { name = "reused", type = "BOOLEAN" },
        { name = "created_at", type = "TIMESTAMP" },
        { name = "latency_ms", type = "INTEGER" },
        { name = "requested_model", type = "STRING" },
        { name = "model_version", type = "STRING" },
        { name = "template", type = "STRING" },
        { name = "cost_usd", type = "FLOAT" },
        { name = "unpriced_calls", type = "INTEGER" },
        { name = "tokens", type = "RECORD", fields = local.tokens },
        { name = "tier", type = "STRING" },
      ]
    }
    dead_letters = {
      topic  = "dead-letters"
      filter = local.subscriptions["dead-letters-sub"].filter
      day_of = null
      columns = [
        { name = "schema", type = "STRING" },
        { name = "prompt_id", type = "STRING" },
        { name = "deduplication_key", type = "STRING" },
        { name = "reason", type = "STRING" },
        { name = "detail", type = "STRING" },
        { name = "retryable", type = "BOOLEAN" },
        { name = "attempts", type = "INTEGER" },
        { name = "template", type = "STRING" },
        { name = "cost_usd", type = "FLOAT" },
        { name = "unpriced_calls", type = "INTEGER" },
        { name = "tokens", type = "RECORD", fields = local.tokens },
        { name = "tier", type = "STRING" },
        { name = "source", type = "STRING" },
        { name = "body", type = "STRING" },
        { name = "body_truncated_from_bytes", type = "INTEGER" },
        { name = "attributes", type = "JSON" },
      ]
    }
  }
  tokens = [
    { name = "input", type = "INTEGER" },
    { name = "text", type = "INTEGER" },
    { name = "image", type = "INTEGER" },
  ]
  # What of this there is: everything or nothing.
  tables        = { for name, table in local.rows : name => table if var.bigquery_dataset != null }
  with_bigquery = var.bigquery_dataset == null ? 0 : 1
  # Pub/Sub's own account in this project, https://cloud.google.com/pubsub/docs/create-bigquery-subscription.
  pubsub = "serviceAccount:service-${local.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# Read while planning, so that a key without rights is refused then. Its API is enabled before the first
# apply (docs/deploying.md).
data "google_project" "imagen" {
  count      = max(local.with_bigquery, local.with_batch, local.with_key, local.with_budget)
  project_id = var.project
}

resource "google_bigquery_dataset" "imagen" {
  # checkov:skip=CKV_GCP_81: Google's own keys encrypt the rows, as they do the messages, unless kms_key is set
  count                      = local.with_bigquery
  dataset_id                 = var.bigquery_dataset
  location                   = var.region
  description                = "Predictions and dead letters of image generation, with the texts of prompts"
  delete_contents_on_destroy = !var.keep_data
  dynamic "default_encryption_configuration" {
    for_each = var.kms_key[*]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
  depends_on = [terraform_data.apis_work]
}

resource "google_bigquery_table" "imagen" {
  # checkov:skip=CKV_GCP_80: Google's own keys encrypt the rows, as they do the messages
  for_each            = local.tables
  dataset_id          = google_bigquery_dataset.imagen[0].dataset_id
  table_id            = each.key
  schema              = jsonencode(each.value.columns)
  deletion_protection = var.keep_data
  time_partitioning {
    type          = "DAY"
    field         = each.value.day_of
    expiration_ms = var.bigquery_retention_days * local.days * 1000
  }
}

resource "google_pubsub_subscription" "bigquery" {
  for_each = local.tables
  name     = "${local.topic_prefix}${each.value.topic}-bigquery"
  topic    = local.topics[each.value.topic].id
  filter   = each.value.filter
  bigquery_config {
    table            = "${var.project}.${google_bigquery_table.imagen[each.key].dataset_id}.${google_bigquery_table.imagen[each.key].table_id}"
    use_table_schema = true
    # Otherwise a message with a new field is not written.
    drop_unknown_fields = true
  }
  # A row that does not fit goes aside. So many attempts, at such intervals, outlive an outage of about two
  # hours: when BigQuery itself is down, attempts count too.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.bigquery_rejects[0].id
    max_delivery_attempts = 20
  }
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
  message_retention_duration = "${7 * local.days}s"
  expiration_policy {
    ttl = ""
  }
  # Pub/Sub looks whether it may write when a subscription is created.
  depends_on = [
    google_bigquery_dataset_iam_member.pubsub_writes_rows,
    google_bigquery_dataset_iam_member.pubsub_sees_tables,
    google_pubsub_topic_iam_member.pubsub_sets_aside,
  ]
}

resource "google_pubsub_topic" "bigquery_rejects" {
  # checkov:skip=CKV_GCP_83: Google's own keys encrypt the messages unless kms_key is set, and none is a secret
  count        = local.with_bigquery
  name         = "${local.topic_prefix}bigquery-rejects"
  kms_key_name = var.kms_key
  depends_on   = [terraform_data.apis_work]
}

resource "google_pubsub_subscription" "bigquery_rejects" {
  count                      = local.with_bigquery
  name                       = "${local.topic_prefix}bigquery-rejects-sub"
  topic                      = google_pubsub_topic.bigquery_rejects[0].id
  message_retention_duration = "${31 * local.days}s"
  expiration_policy {
    ttl = ""
  }
}

resource "google_bigquery_dataset_iam_member" "pubsub_writes_rows" {
  count      = local.with_bigquery
  dataset_id = google_bigquery_dataset.imagen[0].dataset_id
  member     = local.pubsub
  role       = "roles/bigquery.dataEditor"
}

resource "google_bigquery_dataset_iam_member" "pubsub_sees_tables" {
  count      = local.with_bigquery
  dataset_id = google_bigquery_dataset.imagen[0].dataset_id
  member     = local.pubsub
  role       = "roles/bigquery.metadataViewer"
}

resource "google_pubsub_topic_iam_member" "pubsub_sets_aside" {
  count  = local.with_bigquery
  topic  = google_pubsub_topic.bigquery_rejects[0].id
  member = local.pubsub
  role   = "roles/pubsub.publisher"
}

# To set a message aside, Pub/Sub takes it from the subscription.
resource "google_pubsub_subscription_iam_member" "pubsub_takes_rows" {
  for_each     = local.tables
  subscription = google_pubsub_subscription.bigquery[each.key].id
  member       = local.pubsub
  role         = "roles/pubsub.subscriber"
}

# Images and templates.

resource "google_artifact_registry_repository" "imagen" {
  # checkov:skip=CKV_GCP_84: Google's own keys encrypt the images unless kms_key is set, and the code is not secret
  repository_id = local.name
  location      = var.region
  format        = "DOCKER"
  description   = "Container images of the Dataflow jobs"
  kms_key_name  = var.kms_key
  # A tag always names the same image, so a rollback is exact.
  docker_config {
    immutable_tags = true
  }
  depends_on = [terraform_data.apis_work]
}

locals {
  repository = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.imagen.repository_id}"
  images = {
    for job in ["stream", "backfill", "prefetch_import"] :
    job => "${local.repository}/imagen-${replace(job, "_", "-")}:${var.image_tag}"
  }
}

# A warning, not an error: an environment can have an image that new ones can't get any more.
check "composer_image_is_offered" {
  data "google_composer_image_versions" "offered" {
    region = var.region
  }
  assert {
    condition     = local.own_environment == 0 || anytrue([for image in data.google_composer_image_versions.offered.image_versions : startswith(image.image_version_id, var.composer_image)])
    error_message = "Composer doesn't offer ${var.composer_image} in ${var.region} for new environments. It offers: ${join(", ", [for image in data.google_composer_image_versions.offered.image_versions : image.image_version_id if can(regex("^composer-3-airflow-3", image.image_version_id))])}."
  }
}

# A warning, not an error: before the first build there is no image.
check "images_are_built" {
  data "google_artifact_registry_docker_image" "stream" {
    location      = var.region
    repository_id = google_artifact_registry_repository.imagen.repository_id
    image_name    = "imagen-stream:${var.image_tag}"
  }
  assert {
    condition     = data.google_artifact_registry_docker_image.stream.name != ""
    error_message = "The templates name imagen-stream:${var.image_tag}, which doesn't exist. Run scripts/build_image.sh before you launch a job."
  }
}

locals {
  template_metadata = {
    for name in keys(local.images) :
    name => jsondecode(file("${path.module}/beam_jobs/templates/${name}.json"))
  }
}

resource "google_storage_bucket_object" "template" {
  for_each     = local.images
  bucket       = google_storage_bucket.imagen.name
  name         = "templates/${each.key}.json"
  content_type = "application/json"
  content = jsonencode({
    image   = each.value
    sdkInfo = { language = "PYTHON" }
    metadata = merge(local.template_metadata[each.key], {
      # A template's own parameters, then those that both jobs of prompts have.
      parameters = concat(
        local.template_metadata[each.key].parameters,
        jsondecode(each.key == "prefetch_import" ? "[]" : file("${path.module}/beam_jobs/templates/parameters.json")),
      )
    })
    # Workers run in the image that launched them.
    defaultEnvironment = { sdkContainerImage = each.value }
  })
}

# Airflow.

locals {
  model = coalesce(var.model, jsondecode(file("${path.module}/beam_jobs/catalog.json")).default_model)
  # Every setting that plugins/imagen_ops/settings.py reads. Jobs may use the host project of the network.
  allowed_projects = distinct(concat(var.allowed_projects, local.network_host == var.project ? [] : [local.network_host]))
  settings = merge(
    { for name, value in var.settings : upper(name) => value },
    {
      ALLOWED_PROJECTS          = length(local.allowed_projects) > 0 ? join(",", local.allowed_projects) : null
      ALLOWED_BUCKETS           = length(var.allowed_buckets) > 0 ? join(",", var.allowed_buckets) : null
      PROJECT                   = var.project
      REGION                    = var.region
      BUCKET                    = google_storage_bucket.imagen.name
      STREAM_TEMPLATE           = "gs://${google_storage_bucket.imagen.name}/${google_storage_bucket_object.template["stream"].name}"
      PREFETCH_TEMPLATE         = var.batch_inference ? "gs://${google_storage_bucket.imagen.name}/${google_storage_bucket_object.template["prefetch_import"].name}" : null
      BACKFILL_TEMPLATE         = "gs://${google_storage_bucket.imagen.name}/${google_storage_bucket_object.template["backfill"].name}"
      PROMPTS_TOPIC             = local.topics["prompts"].name
      PROMPTS_SUBSCRIPTION      = google_pubsub_subscription.imagen["prompts-sub"].name
      PREDICTIONS_TOPIC         = local.topics["predictions"].name
      PREDICTIONS_SUBSCRIPTION  = google_pubsub_subscription.imagen["predictions-sub"].name
      CANARY_SUBSCRIPTION       = google_pubsub_subscription.imagen["canary-sub"].name
      DEAD_LETTERS_TOPIC        = local.topics["dead-letters"].name
      DEAD_LETTERS_SUBSCRIPTION = google_pubsub_subscription.imagen["dead-letters-sub"].name
      NAME_PREFIX               = local.name
      STREAM_JOB_NAME           = local.stream_job
      KMS_KEY                   = var.kms_key
      LABELS                    = length(var.labels) > 0 ? join(",", [for name, value in var.labels : "${name}=${value}"]) : null
      BIGQUERY_DATASET          = var.bigquery_dataset
      SIGNED_URL_HOURS          = var.signed_url_hours == null ? null : tostring(var.signed_url_hours)
      # The page in Airflow shows the runbook itself, unless people read it elsewhere.
      RUNBOOK_URL            = startswith(var.runbook_url, "http") ? var.runbook_url : null
      MODEL                  = local.model
      WORKER_MACHINE_TYPE    = var.worker_machine_type
      WORKER_SERVICE_ACCOUNT = google_service_account.worker.email
      WORKER_SUBNETWORK      = local.subnetwork
    },
  )
  stream_job  = "${local.name}-stream"
  environment = reverse(split("/", coalesce(var.existing_environment, local.name)))[0]
  # Where DAGs and plugins go: the environment's bucket.
  airflow_bucket = one(concat(google_storage_bucket.composer[*].name, [for one in data.google_composer_environment.existing : regex("^gs://([^/]+)/dags$", one.config[0].dag_gcs_prefix)[0]]))
}

resource "google_composer_environment" "imagen" {
  count  = local.own_environment
  name   = local.environment
  region = var.region
  storage_config {
    bucket = google_storage_bucket.composer[0].name
  }
  config {
    environment_size           = "ENVIRONMENT_SIZE_${upper(var.environment_size)}"
    enable_private_environment = true
    node_config {
      service_account = google_service_account.composer[0].email
      network         = local.network
      subnetwork      = one(concat(google_compute_subnetwork.imagen[*].id, data.google_compute_subnetwork.existing[*].id))
    }
    dynamic "encryption_config" {
      for_each = var.kms_key[*]
      content {
        kms_key_name = encryption_config.value
      }
    }
    software_config {
      image_version           = var.composer_image
      web_server_plugins_mode = "ENABLED"
      airflow_config_overrides = { for name, value in merge({
        # The health DAG and the nightly backfill start to run as soon as they are deployed.
        "core-dags_are_paused_at_creation" = "False"
        # Otherwise the log lines of callbacks, such as run_failed, are in no log:
        # https://github.com/apache/airflow/issues/60969. Whether Composer takes it is not known.
        "logging-dag_processor_log_target" = var.callback_logs ? "stdout" : null
        # So that the first line of a task's log is what the task has to say. Of Python's warnings, all
        # are of libraries.
        "logging-namespace_levels" = "airflow.dag_processing=WARNING airflow.providers.google=WARNING py.warnings=ERROR"
        # OpenLineage events carry the conf of runs, which may name people's files. With this, only DAGs
        # that ask for it send any, and these don't.
        "openlineage-selective_enable" = "True"
        # A task whose message to the workers was lost, as when a scheduler or a worker is lost or Redis is
        # emptied, stays queued until this many seconds have passed, 600 by default. Runs of the health DAG
        # come one at a time, so for as long nobody would look at the stream. Now it is queued again before
        # the next look is due. A third loss in a row fails the task. No limit or block is documented:
        # https://docs.cloud.google.com/composer/docs/airflow-configurations
        "scheduler-task_queued_timeout"                = "180"
        "scheduler-task_queued_timeout_check_interval" = "60"
      }, var.airflow_config) : name => value if value != null }
    }
    # Waiting tasks hold no slot, and DAGs parse in milliseconds, so small sizes are enough. Nothing is
    # deferred, so there is no triggerer. The memory is for the six tasks that Composer runs at once on
    # half a core. Planning 100,000 prompts adds 8 MB.
    workloads_config {
      scheduler {
        count      = 1
        cpu        = 0.5
        memory_gb  = 2
        storage_gb = 1
      }
      dag_processor {
        count      = 1
        cpu        = 0.5
        memory_gb  = 2
        storage_gb = 1
      }
      triggerer {
        count     = 0
        cpu       = 0
        memory_gb = 0
      }
      web_server {
        cpu        = 1
        memory_gb  = 2
        storage_gb = 1
      }
      worker {
        min_count  = 1
        max_count  = 3
        cpu        = 0.5
        memory_gb  = 4
        storage_gb = 1
      }
    }
    maintenance_window {
      start_time = var.maintenance_window.start_time
      end_time   = var.maintenance_window.end_time
      recurrence = var.maintenance_window.recurrence
    }
    data_retention_config {
      airflow_metadata_retention_config {
        retention_mode = "RETENTION_MODE_ENABLED"
        retention_days = var.metadata_retention_days
      }
    }
    # Only where it is on: the service answers a disabled one without its place and time, so that every plan
    # would have a change.
    dynamic "recovery_config" {
      for_each = var.snapshots ? [google_storage_bucket.snapshots[0].name] : []
      content {
        scheduled_snapshots_config {
          enabled                    = true
          snapshot_location          = "gs://${recovery_config.value}/snapshots"
          snapshot_creation_schedule = "0 4 * * *"
          time_zone                  = "UTC"
        }
      }
    }
    # Always there: leaving the block out would not open again what was closed.
    web_server_network_access_control {
      dynamic "allowed_ip_range" {
        for_each = length(var.web_server_ranges) > 0 ? var.web_server_ranges : ["0.0.0.0/0", "::0/0"]
        content {
          value = allowed_ip_range.value
        }
      }
    }
  }
  # An environment of Composer 3 can take over an hour to go.
  timeouts {
    create = "120m"
    update = "120m"
    delete = "120m"
  }
  depends_on = [
    terraform_data.composer_may_start,
    google_storage_bucket_iam_member.composer_keeps_snapshots,
  ]
}

# Settings go where the plugins go, and not into the environment's own variables: those take a restart of
# Airflow, and an existing environment's belong to its owners.
resource "google_storage_bucket_object" "settings" {
  bucket       = local.airflow_bucket
  name         = "plugins/imagen_settings.json"
  content_type = "application/json"
  content      = jsonencode({ for name, value in local.settings : "IMAGEN_${name}" => value if value != null })
  depends_on   = [google_composer_environment.imagen]
}

# DAGs and plugins take names, formats, and the rules for prompt files from beam_jobs/, so it is uploaded
# too: without it, no DAG can be parsed. One resource for all files, so that a plan takes seconds.
resource "terraform_data" "airflow_files" {
  triggers_replace = {
    bucket = local.airflow_bucket
    files = sha256(join(" ", [for file in sort(setunion(
      fileset(path.module, "dags/*.py"),
      fileset(path.module, "plugins/**/*.{py,html,css,js,svg,md}"),
      fileset(path.module, "plugins/**/.airflowignore"),
      fileset(path.module, "beam_jobs/**/{*.py,.airflowignore,catalog.json}"),
      ["scripts/upload_to_airflow.sh"],
    )) : "${file} ${filesha256("${path.module}/${file}")}"]))
  }
  provisioner "local-exec" {
    working_dir = path.module
    command     = "scripts/upload_to_airflow.sh ${local.airflow_bucket}"
  }
  lifecycle {
    precondition {
      condition     = local.own_environment == 1 || !(var.snapshots || var.callback_logs || length(var.web_server_ranges) > 0 || length(var.airflow_config) > 0)
      error_message = "existing_environment is set, so nothing of the environment itself is changed: leave snapshots, callback_logs, web_server_ranges, and airflow_config out, and ask the owners of ${local.environment} to set what you need of them."
    }
  }
  depends_on = [google_storage_bucket_object.settings]
}

# A bucket that stays is left as it was found.
resource "terraform_data" "airflow_files_go" {
  count = 1 - local.own_environment
  input = { script = "scripts/upload_to_airflow.sh", bucket = local.airflow_bucket }
  provisioner "local-exec" {
    when    = destroy
    command = "${self.input.script} ${self.input.bucket} --remove"
  }
}

# Each of these files was a resource once. They stay where they are.
removed {
  from = google_storage_bucket_object.plugin
  lifecycle {
    destroy = false
  }
}

removed {
  from = google_storage_bucket_object.dag
  lifecycle {
    destroy = false
  }
}

# Outputs, for scripts and people.

output "environment" {
  description = "The values that scripts/00_set_environment.sh reads."
  value = {
    PROJECT                   = var.project
    REGION                    = var.region
    NAME_PREFIX               = local.name
    BUCKET                    = google_storage_bucket.imagen.name
    REPOSITORY                = local.repository
    PROMPTS_TOPIC             = local.topics["prompts"].name
    PROMPTS_SUBSCRIPTION      = google_pubsub_subscription.imagen["prompts-sub"].name
    PREDICTIONS_TOPIC         = local.topics["predictions"].name
    PREDICTIONS_SUBSCRIPTION  = google_pubsub_subscription.imagen["predictions-sub"].name
    DEAD_LETTERS_TOPIC        = local.topics["dead-letters"].name
    STREAM_JOB_NAME           = local.stream_job
    MODEL                     = local.model
    WORKER_MACHINE_TYPE       = var.worker_machine_type
    WORKER_SERVICE_ACCOUNT    = google_service_account.worker.email
    WORKER_SUBNETWORK         = local.subnetwork
    COMPOSER_ENVIRONMENT      = local.environment
    COMPOSER_SERVICE_ACCOUNT  = trimprefix(local.composer, "serviceAccount:")
    CANARY_SUBSCRIPTION       = google_pubsub_subscription.imagen["canary-sub"].name
    DEAD_LETTERS_SUBSCRIPTION = google_pubsub_subscription.imagen["dead-letters-sub"].name
    BUILD_SERVICE_ACCOUNT     = google_service_account.build.email
  }
}

output "airflow_uri" {
  description = "The address of Airflow's UI."
  value       = one(concat(google_composer_environment.imagen[*].config[0].airflow_uri, data.google_composer_environment.existing[*].config[0].airflow_uri))
}

output "dashboard_uri" {
  description = "The dashboard in Cloud Monitoring."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${element(split("/", google_monitoring_dashboard.imagen.id), 3)}?project=${var.project}"
}
