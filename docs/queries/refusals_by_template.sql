-- How many prompts of each template the model refused, over the last 30 days. Replace IMAGEN by your
-- dataset.
--
-- A dead letter has no field template: it is read from the body, the prompt as it was sent. NULL stands
-- for prompts that name none. Refused ones that a job's --prompt_template filled are among them.
WITH refused AS (
  SELECT
    deduplication_key,
    JSON_VALUE(
      SAFE.PARSE_JSON(SAFE_CONVERT_BYTES_TO_STRING(SAFE.FROM_BASE64(body)), wide_number_mode => 'round'),
      '$.template'
    ) AS template
  FROM IMAGEN.dead_letters
  WHERE reason = 'BLOCKED' AND _PARTITIONTIME >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
),
made AS (
  SELECT deduplication_key, NULLIF(SPLIT(template, '@')[OFFSET(0)], '') AS template
  FROM IMAGEN.predictions
  WHERE created_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
),
counted AS (
  SELECT template, COUNT(DISTINCT deduplication_key) AS refused, 0 AS made FROM refused GROUP BY template
  UNION ALL
  SELECT template, 0, COUNT(DISTINCT deduplication_key) FROM made GROUP BY template
)
SELECT
  template,
  SUM(refused) AS refused,
  SUM(made) AS made,
  ROUND(SAFE_DIVIDE(SUM(refused), SUM(refused) + SUM(made)), 3) AS share
FROM counted
GROUP BY template
ORDER BY refused DESC;
