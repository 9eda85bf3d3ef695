// The tests that hold the tables against the SDK's schemas. A mutant of a table is there before any test: it runs all
// tests up to the first that fails, which is nearly always one of these.
import './rules.test.ts';
import './roles.test.ts';
