-- What each model cost, by day in UTC, over the last 30 days. Replace IMAGEN by your dataset.
--
-- A message that arrives again tells what it paid before, too: the highest cost of each key counts.
-- unpriced_calls may have cost something that no answer told, and that usd lacks. Dead letters have
-- no model and no time: those that paid have the day they arrived on, and the model NULL.
WITH paid AS (
  SELECT 'prediction' AS kind, deduplication_key, model, DATE(created_at) AS day, cost_usd, unpriced_calls
  FROM IMAGEN.predictions
  WHERE created_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
  UNION ALL
  SELECT 'dead letter', deduplication_key, NULL, DATE(_PARTITIONTIME), cost_usd, unpriced_calls
  FROM IMAGEN.dead_letters
  WHERE
    _PARTITIONTIME >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)
    AND (cost_usd > 0 OR unpriced_calls > 0)
),
once AS (
  SELECT
    MIN(day) AS day,
    ANY_VALUE(model) AS model,
    IFNULL(MAX(cost_usd), 0) AS usd,
    MAX(unpriced_calls) AS unpriced_calls
  FROM paid
  GROUP BY kind, deduplication_key
)
SELECT day, model, COUNT(*) AS prompts, SUM(usd) AS usd, SUM(unpriced_calls) AS unpriced_calls
FROM once
GROUP BY day, model
ORDER BY day DESC, usd DESC;
