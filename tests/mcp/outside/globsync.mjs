// Lets the conformance scenarios start with Node 20: they import a function of Node 22 that only their list of files uses.
// It never changes what a scenario does.
import { register } from 'node:module';

const hooks = `
const fs = 'data:text/javascript,' + encodeURIComponent(
  "export * from 'node:fs'; export { default } from 'node:fs'; export const globSync = () => [];");
export async function resolve(specifier, context, next) {
  const theirs = specifier === 'fs' && context.parentURL?.includes('/@modelcontextprotocol/conformance/');
  return theirs ? { url: fs, shortCircuit: true } : next(specifier, context);
}`;
register('data:text/javascript,' + encodeURIComponent(hooks));
