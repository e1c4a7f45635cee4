// Shows the OpenAPI document.

/**
 * @typedef {object} Schema
 * @property {string} [$ref]
 * @property {string | string[]} [type]
 * @property {unknown[]} [enum]
 * @property {Schema} [items]
 * @property {string} [description]
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {Record<string, Schema>} [properties]
 */

/**
 * @typedef {object} Operation
 * @property {string} summary
 * @property {string} [description]
 * @property {{ name: string, in: string, description?: string, schema: Schema }[]} [parameters]
 * @property {{ content: Record<string, { schema: Schema }> }} [requestBody]
 * @property {Record<string, { description: string }>} responses
 */

/**
 * @typedef {object} Description
 * @property {{ title: string, version: string, summary: string, description: string }} info
 * @property {Record<string, Record<string, Operation>>} paths
 * @property {{ schemas: Record<string, Schema> }} components
 */

/**
 * @param {string} tag
 * @param {string} [text]
 * @param {Node[]} children
 */
function make(tag, text = '', ...children) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

/** @param {[string, string, string][]} rows */
function table(rows) {
  const body = rows.map(([name, type, text]) =>
    make('tr', '', make('td', '', make('code', name)), make('td', type), make('td', text)));
  return make('table', '', ...body);
}

/**
 * @param {Schema} schema
 * @returns {string}
 */
function typeName(schema) {
  if (schema.$ref) return schema.$ref.split('/').at(-1) ?? '';
  if (schema.enum) return schema.enum.join(', ');
  if (schema.items) return `list of ${typeName(schema.items)}`;
  const range = schema.minimum !== undefined && schema.maximum !== undefined
    ? `, ${schema.minimum.toLocaleString()} to ${schema.maximum.toLocaleString()}` : '';
  return [schema.type ?? ''].flat().filter((type) => type !== 'null').join(' or ') + range;
}

/** @param {Schema} schema */
function properties(schema) {
  const all = Object.entries(schema.properties ?? {});
  return table(all.map(([name, of]) => [name, typeName(of), of.description ?? '']));
}

/**
 * @param {string} path
 * @param {string} method
 * @param {Operation} operation
 */
function describe(path, method, operation) {
  const summary = make('summary', '', make('code', method.toUpperCase()), make('code', path),
    make('span', operation.summary));
  summary.firstElementChild?.classList.add('method');
  const details = make('details', '', summary);
  if (operation.description) details.append(make('p', operation.description));
  const parameters = operation.parameters ?? [];
  if (parameters.length > 0) {
    details.append(table(parameters.map((of) =>
      [of.name, `${of.in}, ${typeName(of.schema)}`, of.description ?? ''])));
  }
  for (const [kind, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    details.append(make('p', `Takes ${kind}: ${typeName(schema)}`));
    if (schema.properties) details.append(properties(schema));
  }
  details.append(table(Object.entries(operation.responses).map(([status, of]) =>
    [status, '', of.description])));
  return details;
}

async function begin() {
  /** @type {Description} */
  const all = await (await fetch('/v1/openapi.json')).json();
  const place = document.getElementById('docs');
  if (!place) return;
  place.append(make('h2', `${all.info.summary}`), make('p', all.info.description));
  for (const [path, operations] of Object.entries(all.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      place.append(describe(path, method, operation));
    }
  }
  for (const [name, schema] of Object.entries(all.components.schemas)) {
    const details = make('details', '', make('summary', '', make('code', name)));
    if (schema.description) details.append(make('p', schema.description));
    details.append(properties(schema));
    place.append(details);
  }
  const status = document.getElementById('status');
  if (status) status.textContent = `version ${all.info.version}`;
}

begin();
