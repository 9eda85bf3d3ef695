import { OperatedStore } from './operator.ts';

export class LoopStore extends OperatedStore {}
