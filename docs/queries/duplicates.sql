-- Predictions that arrived more than once, over the last 7 days. Replace IMAGEN by your dataset.
--
-- Pub/Sub and its BigQuery subscriptions deliver at least once, so some are normal. Whatever has the
-- same deduplication_key has the same answer.
SELECT
  deduplication_key,
  COUNT(*) AS times,
  ANY_VALUE(prompt_id) AS prompt_id,
  ANY_VALUE(digest) AS digest,
  ARRAY_AGG(DISTINCT source) AS sources,
  MIN(created_at) AS first_at,
  MAX(created_at) AS last_at
FROM IMAGEN.predictions
WHERE created_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 7 DAY)
GROUP BY deduplication_key
HAVING COUNT(*) > 1
ORDER BY times DESC;
