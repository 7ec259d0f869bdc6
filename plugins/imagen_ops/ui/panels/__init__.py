"""The sections of the page. Each reads its own data, and knows neither the others nor HTTP."""
