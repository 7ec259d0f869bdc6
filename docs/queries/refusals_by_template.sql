-- How many prompts of each version of a template the model refused, over the last 30 days. Replace
-- IMAGEN by your dataset.
--
-- NULL stands for prompts without a template. Dead letters from before the column was added are there too.
WITH outcomes AS (
  SELECT deduplication_key, NULLIF(template, '') AS template, TRUE AS refused
  FROM IMAGEN.dead_letters
  WHERE reason = 'BLOCKED' AND _PARTITIONTIME >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
  UNION ALL
  SELECT deduplication_key, NULLIF(template, ''), FALSE
  FROM IMAGEN.predictions
  WHERE created_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
),
counted AS (
  SELECT
    SPLIT(template, '@')[SAFE_OFFSET(0)] AS name,
    SPLIT(template, '@')[SAFE_OFFSET(1)] AS version,
    COUNT(DISTINCT IF(refused, deduplication_key, NULL)) AS refused,
    COUNT(DISTINCT IF(refused, NULL, deduplication_key)) AS made
  FROM outcomes
  GROUP BY name, version
)
SELECT name, version, refused, made, ROUND(SAFE_DIVIDE(refused, refused + made), 3) AS share
FROM counted
ORDER BY refused DESC;
