// The tests of the tables, which load the whole package: see pure.ts.
import './rules.test.ts';
