# What watches a deployment: alerts, a dashboard, and a budget. composer.tf has the variables, and what is
# watched.

# Alerts. Each says what to do first and links to the runbook.

resource "google_monitoring_notification_channel" "email" {
  for_each     = toset(var.notification_emails)
  display_name = each.key
  type         = "email"
  labels       = { email_address = each.key }
  depends_on   = [terraform_data.apis_work]
}

locals {
  # Looser than the health DAG's limits (plugins/imagen_ops/health/assessment/thresholds.py): these are
  # for when the DAG could not help, or does not run.
  # The metrics: https://cloud.google.com/monitoring/api/metrics_gcp
  stream_alerts = {
    job-failed = {
      title    = "a Dataflow job failed"
      filter   = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/is_failed\" AND resource.labels.job_name = monitoring.regex.full_match(\"${local.name}-(stream|backfill|import).*\")"
      aligner  = "ALIGN_MAX"
      above    = 0
      lasting  = "0s"
      severity = "CRITICAL"
      first    = "If the stream failed, the health DAG restarts it within 5 minutes, by default at most three times within any hour. Read the last verdict of the DAG imagen_stream_health, then the job's messages."
    }
    system-lag = {
      title    = "prompts are stuck in the stream"
      filter   = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/system_lag\" AND resource.labels.job_name = \"${local.stream_job}\""
      aligner  = "ALIGN_MAX"
      above    = 15 * 60
      lasting  = "300s"
      severity = "WARNING"
      first    = "A prompt has been in the job for more than 15 minutes. Check whether the model answers: the dashboard shows throttled calls and failures by reason."
    }
    watermark-age = {
      title    = "the stream is falling behind"
      filter   = "resource.type = \"dataflow_job\" AND metric.type = \"dataflow.googleapis.com/job/data_watermark_age\" AND resource.labels.job_name = \"${local.stream_job}\""
      aligner  = "ALIGN_MAX"
      above    = 30 * 60
      lasting  = "300s"
      severity = "WARNING"
      first    = "The oldest unfinished prompt is more than 30 minutes old. Compare prompts and predictions per minute on the dashboard."
    }
    backlog-age = {
      title    = "prompts have been waiting too long"
      filter   = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.imagen["prompts-sub"].name}\""
      aligner  = "ALIGN_MAX"
      above    = 30 * 60
      lasting  = "300s"
      severity = "CRITICAL"
      first    = "Check whether a stream is running. If somebody drained it, this alert is expected: start it with the DAG imagen_stream_start. Prompts are kept for 31 days."
    }
    dag-run-failed = {
      title = "a DAG run failed"
      # The label is ENVIRONMENT.DAG.
      filter   = "resource.type = \"cloud_composer_workflow\" AND metric.type = \"composer.googleapis.com/workflow/run_count\" AND metric.labels.state = \"failed\" AND resource.labels.workflow_name = monitoring.regex.full_match(\"(${local.environment}[.])?imagen_.*\")"
      aligner  = "ALIGN_SUM"
      above    = 0
      lasting  = "0s"
      severity = "WARNING"
      first    = "Open the failed run in Airflow: the last lines of the failed task's log say what was given, what was expected, and what to do."
    }
  }
  # Log lines that tasks write. See plugins/imagen_ops/alerts/alert.py: nothing but an alert has this phrase.
  line_alerts = {
    crash-loop = {
      title    = "the stream keeps dying"
      event    = "stream_crash_loop"
      severity = "CRITICAL"
      first    = "The health DAG restarts it again once the first of these restarts is an hour old. The verdict of imagen_stream_health says why the job ended. If you deployed a new image, roll back."
    }
    run-late = {
      title    = "a run is late"
      event    = "run_late"
      severity = "ERROR"
      first    = "A health check, or a night, has not ended in time. Open the run in Airflow and see which task waits. While a health check hangs, nothing restarts the stream."
    }
    unaccounted = {
      title    = "a backfill does not add up"
      event    = "backfill_unaccounted"
      severity = "ERROR"
      first    = "Some prompts of a backfill have neither a prediction nor a dead letter. Clear the task launch of the run, with the tasks after it: existing images are found again and not paid twice."
    }
    approval = {
      title    = "a backfill waits for approval"
      event    = "backfill_approval"
      severity = "WARNING"
      first    = "A backfill's plan is over its budget, or its form asks for approval. The line links to the question. Without an answer in time, the run fails and nothing is paid."
    }
  }
}

resource "google_monitoring_alert_policy" "stream" {
  for_each              = local.stream_alerts
  display_name          = "${local.name}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = local.told
  conditions {
    display_name = each.value.title
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = each.value.lasting
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = each.value.aligner
      }
    }
  }
  alert_strategy {
    auto_close = "1800s"
  }
  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.first}\n\nRunbook: ${var.runbook_url}#alert-${each.key}"
  }
  depends_on = [terraform_data.apis_work]
}

# The number of messages is the count of a distribution, which only PromQL can query. The names follow
# https://cloud.google.com/monitoring/promql/promql-mapping.
resource "google_monitoring_alert_policy" "dead_letters" {
  display_name          = "${local.name}: many prompts fail"
  severity              = "WARNING"
  combiner              = "OR"
  notification_channels = local.told
  conditions {
    display_name = "more than ${var.dead_letters_per_10_minutes} dead letters in 10 minutes"
    condition_prometheus_query_language {
      query               = "sum(increase(pubsub_googleapis_com:topic_message_sizes_count{monitored_resource=\"pubsub_topic\", topic_id=\"${local.topics["dead-letters"].name}\"}[10m])) > ${var.dead_letters_per_10_minutes}"
      duration            = "0s"
      evaluation_interval = "60s"
      # A metric that has no data yet, as after the first apply, is unknown to the service, which refuses
      # rules on unknown ones: https://cloud.google.com/monitoring/promql/promql-in-alerting.
      disable_metric_validation = true
    }
  }
  alert_strategy {
    auto_close = "1800s"
  }
  documentation {
    mime_type = "text/markdown"
    content   = "Read a few dead letters. Their reason says whether the model, its quota, storage, or the prompts are to blame. After you fix the cause, replay them with the DAG imagen_dead_letters_replay.\n\nRunbook: ${var.runbook_url}#alert-dead-letters"
  }
}

resource "google_monitoring_alert_policy" "line" {
  for_each              = local.line_alerts
  display_name          = "${local.name}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = local.told
  conditions {
    display_name = "a log line says ${each.value.event}"
    condition_matched_log {
      filter = "resource.type = \"cloud_composer_environment\" AND resource.labels.environment_name = \"${local.environment}\" AND \"imagen.alert/1:${each.value.event}\""
    }
  }
  alert_strategy {
    auto_close = "1800s"
    notification_rate_limit {
      period = "3600s"
    }
  }
  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.first}\n\nRunbook: ${var.runbook_url}#alert-${each.key}"
  }
  depends_on = [terraform_data.apis_work]
}

# A dashboard.

locals {
  told = [for channel in google_monitoring_notification_channel.email : channel.id]

  of_stream       = "resource.type = \"dataflow_job\" AND resource.labels.job_name = \"${local.stream_job}\""
  of_subscription = { for name, subscription in google_pubsub_subscription.imagen : name => "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${subscription.name}\"" }

  # Each chart shows the maximum of a gauge (most), counts per minute (sum), or a query.
  charts = [
    { title = "Messages per minute, by topic", query = "60 * sum by (topic_id) (rate(pubsub_googleapis_com:topic_message_sizes_count{monitored_resource=\"pubsub_topic\", topic_id=~\"${join("|", [for topic in local.topics : topic.name])}\"}[5m]))" },
    { title = "Waiting prompts", most = "${local.of_subscription["prompts-sub"]} AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"" },
    { title = "Age of the oldest waiting prompt (s)", most = "${local.of_subscription["prompts-sub"]} AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"" },
    { title = "System lag of the stream (s)", most = "${local.of_stream} AND metric.type = \"dataflow.googleapis.com/job/system_lag\"" },
    { title = "Watermark age of the stream (s)", most = "${local.of_stream} AND metric.type = \"dataflow.googleapis.com/job/data_watermark_age\"" },
    { title = "Prompts, predictions, images, and failures since the job started", most = "${local.of_stream} AND metric.type = \"dataflow.googleapis.com/job/user_counter\" AND metric.labels.metric_name = monitoring.regex.full_match(\"prompts|predictions|reused|images|failures.*\")", by = ["metric.labels.metric_name"] },
    { title = "Model calls, and calls refused for quota, since the job started", most = "${local.of_stream} AND metric.type = \"dataflow.googleapis.com/job/user_counter\" AND metric.labels.metric_name = monitoring.regex.full_match(\"model_calls|quota_refusals\")", by = ["metric.labels.metric_name"] },
    { title = "Time that calls waited for quota since the job started (ms)", most = "${local.of_stream} AND metric.type = \"dataflow.googleapis.com/job/user_counter\" AND metric.labels.metric_name = \"throttled_ms\"" },
    { title = "Cores of the stream's workers", most = "${local.of_stream} AND metric.type = \"dataflow.googleapis.com/job/current_num_vcpus\"" },
    { title = "Waiting dead letters", most = "${local.of_subscription["dead-letters-sub"]} AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"" },
    { title = "DAG runs, by state", sum = "resource.type = \"cloud_composer_workflow\" AND metric.type = \"composer.googleapis.com/workflow/run_count\" AND resource.labels.workflow_name = monitoring.regex.full_match(\"(${local.environment}[.])?imagen_.*\")", by = ["metric.labels.state"] },
  ]
}

resource "google_monitoring_dashboard" "imagen" {
  dashboard_json = jsonencode({
    displayName = "Image generation (${local.name})"
    mosaicLayout = {
      columns = 12
      # The service answers without zeros and empty lists, so that a plan would change them each time.
      tiles = [for position, chart in local.charts : merge(
        position % 2 == 0 ? {} : { xPos = 6 },
        position < 2 ? {} : { yPos = floor(position / 2) * 4 },
        {
          width  = 6
          height = 4
          widget = {
            title = chart.title
            xyChart = { dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = { for kind, query in {
                prometheusQuery = try(chart.query, null)
                timeSeriesFilter = can(chart.query) ? null : {
                  filter = try(chart.most, chart.sum)
                  aggregation = merge({
                    alignmentPeriod    = "60s"
                    perSeriesAligner   = can(chart.most) ? "ALIGN_MAX" : "ALIGN_SUM"
                    crossSeriesReducer = can(chart.most) ? "REDUCE_MAX" : "REDUCE_SUM"
                  }, can(chart.by) ? { groupByFields = chart.by } : {})
                }
              } : kind => query if query != null }
            }] }
          }
        },
      )]
    }
  })
  depends_on = [terraform_data.apis_work]
}

# A budget: optional. It tells, and stops nothing.

locals {
  with_budget = var.monthly_budget == null ? 0 : 1
}

# With a person's credentials, this API wants to know which project's quota it counts on, and no other here
# does: https://cloud.google.com/docs/quotas/set-quota-project.
provider "google" {
  alias                 = "billing"
  project               = var.project
  region                = var.region
  default_labels        = merge({ app = "imagen" }, var.labels)
  user_project_override = true
  billing_project       = var.project
}

resource "google_billing_budget" "imagen" {
  provider        = google.billing
  count           = local.with_budget
  billing_account = var.billing_account
  display_name    = "${local.name}: the project ${var.project}"
  budget_filter {
    projects = ["projects/${local.project_number}"]
  }
  amount {
    specified_amount {
      units = var.monthly_budget
    }
  }
  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  threshold_rules {
    threshold_percent = 1
    spend_basis       = "FORECASTED_SPEND"
  }
  # A budget takes up to five channels.
  all_updates_rule {
    monitoring_notification_channels = slice(local.told, 0, min(5, length(local.told)))
  }
  depends_on = [terraform_data.apis_work]
}
