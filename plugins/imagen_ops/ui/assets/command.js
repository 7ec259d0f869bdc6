// The command that sends an image's prompt again. Airflow has no form for it.

/** What the prompt asked for, by the names of its fields, without the references that a record has. */
export function parametersOf(image, record) {
  const { references, ...others } = { ...image.parameters, ...record?.parameters };
  return record?.references?.length || !references ? others : { ...others, references };
}

/**
 * @param {object} image as the index has it, with the beginning of a long prompt
 * @param {object | null} record the whole of it, if it is loaded
 */
export function publishCommand(image, record) {
  const fields = parametersOf(image, record);
  const options = [
    ["model", record?.model ?? image.model],
    ["images", record?.images?.length > 1 ? record.images.length : null],
    ...Object.entries(fields),
  ]
    .filter(([, value]) => !["", null, undefined].includes(value))
    .map(([name, value]) => `--${name.replaceAll("_", "-")}=${quoted(value)}`);
  const references = (record?.references ?? []).map(
    ({ path, role }) => `--reference=${quoted(role || /\s/.test(path) ? JSON.stringify(role ? { uri: path, role } : { uri: path }) : path)}`,
  );
  const attributes = Object.entries(image.attributes ?? {}).map(
    ([name, value]) => `--attribute=${quoted(`${name}=${value}`)}`,
  );
  const prompt = quoted(record?.prompt ?? image.prompt ?? "");
  // After `--`, a prompt may begin with a hyphen.
  return ["scripts/publish_prompt.sh --no-reuse", ...options, ...references, ...attributes, `-- ${prompt}`].join(" ");
}

/** A value that any shell passes on as it is. */
const quoted = (value) => {
  const text = String(value);
  return /^[\w.:/@=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
};
